// The law of x_t = alpha x_0 + sigma eps where x_0 is a mixture of Gaussians in the plane, in closed form.

/**
 * arrays: weights (K), means (K, 2), covs (K, 3: C11, C12, C22), as choices.py stores them; without covs, point masses.
 * Returns at(x1, x2) -> {logp, score: [s1, s2], D: [d1, d2], responsibilities (K)}, all exact.
 */
export function mixture({ weights, means, covs }, alpha, sigma) {
  const count = weights.data.length;
  const parts = Array.from({ length: count }, (_, k) => {
    const [c11, c12, c22] = covs ? covs.data.subarray(3 * k, 3 * k + 3) : [0, 0, 0];
    const t11 = alpha * alpha * c11 + sigma * sigma, t12 = alpha * alpha * c12, t22 = alpha * alpha * c22 + sigma * sigma;
    const det = t11 * t22 - t12 * t12;
    const p11 = t22 / det, p12 = -t12 / det, p22 = t11 / det;
    const log = Math.log(weights.data[k]) - 0.5 * Math.log(det) - Math.log(2 * Math.PI);
    const m1 = means.data[2 * k], m2 = means.data[2 * k + 1];
    return { log, m1, m2, c11, c12, c22, p11, p12, p22 };
  });
  const logs = new Float64Array(count), shares = new Float64Array(count);

  return function at(x1, x2) {
    let top = -Infinity;
    parts.forEach((c, k) => {
      const y1 = x1 - alpha * c.m1, y2 = x2 - alpha * c.m2;
      logs[k] = c.log - 0.5 * (c.p11 * y1 * y1 + 2 * c.p12 * y1 * y2 + c.p22 * y2 * y2);
      if (logs[k] > top) top = logs[k];
    });
    let total = 0;
    for (let k = 0; k < count; k++) total += shares[k] = Math.exp(logs[k] - top);
    const score = [0, 0], D = [0, 0];
    parts.forEach((c, k) => {
      const r = (shares[k] /= total);
      const y1 = x1 - alpha * c.m1, y2 = x2 - alpha * c.m2;
      const q1 = c.p11 * y1 + c.p12 * y2, q2 = c.p12 * y1 + c.p22 * y2;
      score[0] -= r * q1;
      score[1] -= r * q2;
      D[0] += r * (c.m1 + alpha * (c.c11 * q1 + c.c12 * q2));
      D[1] += r * (c.m2 + alpha * (c.c12 * q1 + c.c22 * q2));
    });
    return { logp: top + Math.log(total), score, D, responsibilities: shares };
  };
}

/** The density of x_1, (x1) -> p. */
export function marginal({ weights, means, covs }, alpha, sigma) {
  return (x) => {
    let p = 0;
    weights.data.forEach((w, k) => {
      const variance = alpha * alpha * covs.data[3 * k] + sigma * sigma, y = x - alpha * means.data[2 * k];
      p += (w * Math.exp((-0.5 * y * y) / variance)) / Math.sqrt(2 * Math.PI * variance);
    });
    return p;
  };
}

/** exp of the entropy of weights that sum to 1: the effective number of candidates. */
export function effective(weights) {
  return Math.exp(weights.reduce((sum, w) => (w > 0 ? sum - w * Math.log(w) : sum), 0));
}
