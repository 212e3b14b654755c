// Opcodes that integers and floating point share go to the file of their type.
#include "decode.h"

namespace simulator {

void add_arithmetic_operations() {
  for (const char* name : {"add", "sub", "mul", "mad", "fma", "div", "rem", "abs", "neg", "min", "max"})
    add_lowering(name, [](Build& b) {
      switch (b.type()) {
        case Type::kF32:
        case Type::kF64:
          return lower_float(b);
        case Type::kF16:
        case Type::kF16x2:
        case Type::kBf16:
        case Type::kBf16x2:
          return lower_half(b);
        default:
          return lower_integer(b);
      }
    });
}

}  // namespace simulator
