/**
 * A model of one ConvTranspose in ONNX's protobuf (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), written field
 * by field: varints and length-delimited parts are all it takes. Weight and bias are inside of it, as in a deployed model.
 */

export interface OnnxLayer {
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly weightShape: readonly number[];
  readonly weight: Float32Array;
  readonly bias: Float32Array;
  readonly strides: readonly number[];
  /** Rows above, columns to the left, rows below, columns to the right. */
  readonly pads: readonly number[];
  readonly outputPadding: readonly number[];
  readonly dilations: readonly number[];
  readonly group: number;
}

type Part = Uint8Array;
const FLOAT = 1;
const IR_VERSION = 8;
const OPSET = 17;
/** AttributeProto.AttributeType */
const INT = 2;
const INTS = 7;

/** The bytes of the model; its input is `x`, its output `y`. */
export function convTransposeModel(layer: OnnxLayer): Uint8Array {
  const { strides, pads, outputPadding, dilations, group } = layer;
  const kernel = layer.weightShape.slice(2);
  const node = join(
    ...['x', 'w', 'b'].map((name) => words(1, name)),
    words(2, 'y'),
    words(4, 'ConvTranspose'),
    ...Object.entries({ strides, pads, output_padding: outputPadding, dilations, kernel_shape: kernel }).map(
      ([name, values]) => block(5, join(words(1, name), ...values.map((value) => int(8, value)), int(20, INTS))),
    ),
    block(5, join(words(1, 'group'), int(3, group), int(20, INT))),
  );
  const graph = join(
    block(1, node),
    words(2, 'layer'),
    block(5, tensor('w', layer.weightShape, layer.weight)),
    block(5, tensor('b', [layer.bias.length], layer.bias)),
    block(11, value('x', layer.x)),
    block(12, value('y', layer.y)),
  );
  return join(int(1, IR_VERSION), block(7, graph), block(8, int(2, OPSET)));
}

function tensor(name: string, shape: readonly number[], data: Float32Array): Part {
  const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return join(...shape.map((size) => int(1, size)), int(2, FLOAT), words(8, name), block(9, raw));
}

/** ValueInfoProto with a float tensor of this shape. */
function value(name: string, shape: readonly number[]): Part {
  const dims = shape.map((size) => block(1, int(1, size)));
  return join(words(1, name), block(2, block(1, join(int(1, FLOAT), block(2, join(...dims))))));
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

function int(field: number, value: number): Part {
  return Uint8Array.from([...varint(field * 8), ...varint(value)]);
}

function block(field: number, part: Part): Part {
  return join(Uint8Array.from([...varint(field * 8 + 2), ...varint(part.length)]), part);
}

function words(field: number, text: string): Part {
  return block(field, new TextEncoder().encode(text));
}

function join(...parts: Part[]): Part {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
