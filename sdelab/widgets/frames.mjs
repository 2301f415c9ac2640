// Frames as they come from packing.py.

/** Bytes of packing.py -> {header, arrays: {name: {data, shape}}}; quantised numbers come back as values. */
export async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = await new Response(stream).arrayBuffer();
  let at = 4 + new DataView(raw).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(raw, 4, at - 4)));
  const arrays = {};
  for (const { name, dtype, shape, lo, hi, top, delta = [] } of header.arrays) {
    const count = shape.reduce((a, b) => a * b, 1);
    const size = { uint8: 1, uint16: 2, float32: 4 }[dtype];
    const piece = new Uint8Array(raw.slice(at, at + size * count));
    at += size * count;
    let data = piece;
    if (dtype === "float32") data = new Float32Array(piece.buffer);
    if (dtype === "uint16") data = Uint16Array.from({ length: count }, (_, i) => piece[i] | (piece[count + i] << 8));
    for (const axis of delta) {
      const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
      for (let i = stride; i < count; i++) {
        if (Math.floor(i / stride) % shape[axis] !== 0) data[i] += data[i - stride]; // modulo its range, as stored
      }
    }
    if (top !== undefined) data = Float32Array.from(data, (q) => lo + ((hi - lo) * q) / top);
    arrays[name] = { data, shape };
  }
  return { header, arrays };
}

/** Frame k of an array whose first axis is time. */
export function row({ data, shape }, k) {
  const stride = data.length / shape[0];
  return data.subarray(k * stride, (k + 1) * stride);
}

export const same = (a, b) => Object.keys(b).every((name) => a[name] === b[name]);

export const asBytes = (value) => {
  if (!value) return new Uint8Array(0);
  return value.buffer ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value);
};

