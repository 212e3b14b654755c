// mma.sync: the fragment maps of PTX, products exact, sums in f32 in the order of k.
#include "decode.h"
#include "floats.h"

namespace simulator {

namespace {

enum class Factor : uint8_t { kTf32, kF16, kBf16 };

float truncated_tf32(uint32_t bits) {
  return std::bit_cast<float>(bits & ~0x1fffu);
}

template <Factor kFactor>
float element(uint32_t word, int half) {
  if constexpr (kFactor == Factor::kTf32)
    return truncated_tf32(word);
  else if constexpr (kFactor == Factor::kF16)
    return to_float(Half{static_cast<uint16_t>(word >> (16 * half))});
  else
    return to_float(Bf16{static_cast<uint16_t>(word >> (16 * half))});
}

// Registers in Code::more: d, a, b, c. Lane l: g = l / 4, t = l % 4. A register of A holds rows g and g + 8 in turn, of
// B the column g; a word of k holds one tf32 element (k = t) or two halves (k = 2t, 2t + 1).
template <Factor kFactor, int kK, bool kHalfSum>
void multiply(Warp& w, const Op& op) {
  if (w.mask != kAll) return fail(w, op, kLaunchFailed, -1, "is executed by part of its warp");
  constexpr int kHalves = kFactor == Factor::kTf32 ? 1 : 2;
  constexpr int kStep = 4 * kHalves;  // of k from one register to the next
  constexpr int kA = 2 * kK / kStep, kB = kK / kStep, kC = kHalfSum ? 2 : 4;
  const uint32_t* more = w.code->more.data() + op.more;
  const uint32_t *d = more, *ra = d + kC, *rb = ra + kA, *rc = rb + kB;
  alignas(64) float a[16][kK], b[kK][8], sum[16][8];
  for (int r = 0; r < kA; r++) {
    const uint32_t* words = cells<uint32_t>(w, ra[r]);
    for (int lane = 0; lane < 32; lane++)
      for (int h = 0; h < kHalves; h++)
        a[(lane >> 2) + 8 * (r & 1)][kHalves * (lane & 3) + h + kStep * (r >> 1)] = element<kFactor>(words[lane], h);
  }
  for (int r = 0; r < kB; r++) {
    const uint32_t* words = cells<uint32_t>(w, rb[r]);
    for (int lane = 0; lane < 32; lane++)
      for (int h = 0; h < kHalves; h++)
        b[kHalves * (lane & 3) + h + kStep * r][lane >> 2] = element<kFactor>(words[lane], h);
  }
  for (int r = 0; r < kC; r++) {
    const uint32_t* words = cells<uint32_t>(w, rc[r]);
    for (int lane = 0; lane < 32; lane++) {
      const int g = lane >> 2, t = 2 * (lane & 3);
      if constexpr (kHalfSum)
        for (int h = 0; h < 2; h++) sum[g + 8 * r][t + h] = element<Factor::kF16>(words[lane], h);
      else
        sum[g + 8 * (r >> 1)][t + (r & 1)] = std::bit_cast<float>(words[lane]);
    }
  }
  for (int m = 0; m < 16; m++)
    for (int k = 0; k < kK; k++) {
      const float x = a[m][k];
      for (int n = 0; n < 8; n++) sum[m][n] += x * b[k][n];
    }
  for (int r = 0; r < kC; r++) {
    uint32_t* words = cells<uint32_t>(w, d[r]);
    for (int lane = 0; lane < 32; lane++) {
      const int g = lane >> 2, t = 2 * (lane & 3);
      if constexpr (kHalfSum)
        words[lane] = to_half(sum[g + 8 * r][t]).bits | static_cast<uint32_t>(to_half(sum[g + 8 * r][t + 1]).bits)
                                                            << 16;
      else
        words[lane] = std::bit_cast<uint32_t>(canonical(sum[g + 8 * (r >> 1)][t + (r & 1)]));
    }
  }
}

void lower_mma(Build& b) {
  if (!b.has("sync")) b.refuse("it must be .sync");
  b.has("aligned");
  if (!b.has("row") || !b.has("col")) b.refuse("the layout must be .row.col");
  const bool k8 = b.has("m16n8k8"), k16 = b.has("m16n8k16"), k4 = b.has("m16n8k4");
  if (!k8 && !k16 && !k4) b.refuse("the shape is not one of m16n8k4, m16n8k8, m16n8k16");
  const Type d = b.type(0), a = b.type(1), other = b.type(2), c = b.type(3);
  if (a != other || d != c) b.refuse("the factors must have one type, as must the sums");
  const bool half_sum = d == Type::kF16;
  if (!half_sum && d != Type::kF32) b.refuse("the sums must be .f32 or .f16");
  Run run = nullptr;
  if (a == Type::kTf32 && !half_sum)
    run = k8 ? multiply<Factor::kTf32, 8, false> : k4 ? multiply<Factor::kTf32, 4, false> : nullptr;
  else if (a == Type::kBf16 && !half_sum)
    run = k16 ? multiply<Factor::kBf16, 16, false> : k8 ? multiply<Factor::kBf16, 8, false> : nullptr;
  else if (a == Type::kF16 && half_sum)
    run = k16 ? multiply<Factor::kF16, 16, true> : k8 ? multiply<Factor::kF16, 8, true> : nullptr;
  else if (a == Type::kF16)
    run = k16 ? multiply<Factor::kF16, 16, false> : k8 ? multiply<Factor::kF16, 8, false> : nullptr;
  if (run == nullptr) b.refuse("the types are not those of the shape");
  const size_t k = k16 ? 16 : k8 ? 8 : 4, step = a == Type::kTf32 ? 4 : 8;
  const size_t sizes[4] = {half_sum ? 2u : 4u, 2 * k / step, k / step, half_sum ? 2u : 4u};
  std::vector<uint32_t> at;
  for (size_t i = 0; i < 4; i++) {
    std::vector<const Operand*> parts;
    if (b.operand(i).form == Operand::kVector)
      for (const Operand& part : b.operand(i).parts) parts.push_back(&part);
    else
      parts.push_back(&b.operand(i));
    if (parts.size() != sizes[i]) b.refuse("the fragments have other sizes");
    for (const Operand* part : parts) at.push_back(i == 0 ? b.result(*part, Type::kB32) : b.source(*part, Type::kB32));
  }
  const uint32_t more = b.more(at);
  Op& op = b.emit(run, kMma);
  op.more = more;
  op.multiply_adds = static_cast<uint16_t>(16 * 8 * k / 32);
}

}  // namespace

void add_matrix_operations() {
  add_lowering("mma", lower_mma);
}

}  // namespace simulator
