// Instructions by family, each with the bits that PTX's definition gives, worked out apart from the machine.
#include <cmath>
#include <limits>

#include "machine_check.h"

namespace check {
namespace {

struct Row {
  const char* op;
  const char* types;  // of the result and the sources
  std::vector<uint64_t> sources;
  uint64_t expected;
  const char* rest = "";
};

void rows(const std::vector<Row>& list) {
  for (const Row& r : list) {
    std::string what = std::string(r.op);
    for (const uint64_t s : r.sources) what += " " + hex(s);
    same<uint64_t>(what, one(r.op, r.types, r.sources, r.rest), r.expected);
  }
}

uint64_t f(float x) {
  return bits(x);
}
uint64_t e(double x) {
  return bits(x);
}
constexpr uint64_t kNan = 0x7fffffff;
constexpr uint64_t kInf = 0x7f800000;

Add integers("integer arithmetic wraps, multiplies and divides as PTX says", [] {
  rows({{"add.u32", "rrr", {0xffffffff, 2}, 1},
        {"sub.s32", "rrr", {0, 1}, 0xffffffff},
        {"add.sat.s32", "rrr", {0x7fffffff, 1}, 0x7fffffff},
        {"sub.sat.s32", "rrr", {0x80000000, 1}, 0x80000000},
        {"add.s64", "ddd", {0xffffffffffffffff, 1}, 0},
        {"add.u16", "hhh", {0xffff, 3}, 2},
        {"mul.lo.s32", "rrr", {0x10001, 0x10001}, 0x20001},
        {"mul.hi.s32", "rrr", {0xffffffff, 2}, 0xffffffff},
        {"mul.hi.u32", "rrr", {0xffffffff, 2}, 1},
        {"mul.wide.s32", "drr", {0xffffffff, 5}, 0xfffffffffffffffb},
        {"mul.wide.u32", "drr", {0xffffffff, 5}, 0x4fffffffb},
        {"mul.wide.s16", "rhh", {0xffff, 7}, 0xfffffff9},
        {"mul.lo.u16", "hhh", {0xffff, 0xffff}, 1},
        {"mul.hi.u64", "ddd", {0xffffffffffffffff, 0xffffffffffffffff}, 0xfffffffffffffffe},
        {"mul.hi.s64", "ddd", {0xffffffffffffffff, 3}, 0xffffffffffffffff},
        {"mad.lo.s32", "rrrr", {7, 6, 0xffffffff}, 41},
        {"mad.hi.u32", "rrrr", {0x80000000, 4, 5}, 7},
        {"mad.wide.s32", "drrd", {0xfffffffe, 3, 10}, 4},
        {"mad.lo.u64", "dddd", {1ull << 40, 1ull << 30, 9}, 9},
        {"mul24.lo.u32", "rrr", {0xff000003, 5}, 15},
        {"mad24.lo.s32", "rrrr", {0x00ffffff, 5, 2}, 0xfffffffd},
        {"div.s32", "rrr", {0xfffffff9, 2}, 0xfffffffd},
        {"rem.s32", "rrr", {0xfffffff9, 2}, 0xffffffff},
        {"div.s32", "rrr", {0x80000000, 0xffffffff}, 0x80000000},
        {"div.u64", "ddd", {0xffffffffffffffff, 10}, 0x1999999999999999},
        {"rem.u64", "ddd", {0xffffffffffffffff, 10}, 5},
        {"abs.s32", "rr", {0xfffffff0}, 16},
        {"neg.s64", "dd", {5}, 0xfffffffffffffffb},
        {"min.s32", "rrr", {0xffffffff, 1}, 0xffffffff},
        {"min.u32", "rrr", {0xffffffff, 1}, 1},
        {"max.s64", "ddd", {0xffffffffffffffff, 1}, 1},
        {"sad.s32", "rrrr", {3, 10, 100}, 107},
        {"sad.u32", "rrrr", {10, 3, 100}, 107},
        {"dp4a.s32.s32", "rrrr", {0xff02fe04, 0x01020304, 1}, static_cast<uint32_t>(1 - 1 + 4 - 6 + 16)},
        {"dp4a.u32.s32", "rrrr", {0xff000001, 0xff000002, 0}, static_cast<uint32_t>(-255 + 2)}});
});

Add carries("add.cc, addc, sub.cc, subc and mad.cc carry from one word to the next", [] {
  const auto r = evaluate(
      "ld.global.v2.u32 {%r1, %r2}, [%rd0];\nld.global.v2.u32 {%r3, %r4}, [%rd0+8];\n"
      "add.cc.u32 %r5, %r1, %r3;\naddc.cc.u32 %r6, %r2, %r4;\naddc.u32 %r7, 0, 0;\n"
      "st.global.v2.u32 [%rd1], {%r5, %r6};\n"
      "sub.cc.u32 %r8, %r1, %r3;\nsubc.u32 %r9, %r2, %r4;\nst.global.v2.u32 [%rd1+8], {%r8, %r9};\n"
      "mad.lo.cc.u32 %r10, %r1, %r3, %r1;\nmadc.hi.u32 %r11, %r1, %r3, 0;\nst.global.v2.u32 [%rd1+16], {%r10, "
      "%r11};\nst.global.u32 [%rd1+24], %r7;",
      {{0xffffffff00000001, 0x80000000ffffffff}, {0x00000005ffffffff, 0x00000007fffffffe}});
  const uint64_t a[2] = {0xffffffff00000001, 0x00000005ffffffff}, b[2] = {0x80000000ffffffff, 0x00000007fffffffe};
  for (int i = 0; i < 2; i++) {
    same("sum", r[i][0], a[i] + b[i]);
    same("difference", r[i][1], a[i] - b[i]);
    same("product", r[i][2], (a[i] & 0xffffffff) * (b[i] & 0xffffffff) + (a[i] & 0xffffffff));
    same<uint64_t>("carry", r[i][3], a[i] + b[i] < a[i] ? 1 : 0);
  }
});

Add logic("logic, shifts and bit fields", [] {
  rows({{"and.b32", "rrr", {0xf0f0, 0xff00}, 0xf000},
        {"or.b64", "ddd", {0xf0, 0xf00000000}, 0xf000000f0},
        {"xor.b16", "hhh", {0xffff, 0x00ff}, 0xff00},
        {"not.b32", "rr", {0x0f}, 0xfffffff0},
        {"cnot.b32", "rr", {0}, 1},
        {"shl.b32", "rrr", {1, 32}, 0},
        {"shl.b32", "rrr", {3, 31}, 0x80000000},
        {"shl.b64", "ddr", {1, 63}, 0x8000000000000000},
        {"shr.u32", "rrr", {0x80000000, 40}, 0},
        {"shr.s32", "rrr", {0x80000000, 40}, 0xffffffff},
        {"shr.s64", "ddr", {0x8000000000000000, 4}, 0xf800000000000000},
        {"shr.s16", "hhr", {0x8000, 3}, 0xf000},
        {"shr.u16", "hhr", {0x8000, 3}, 0x1000},
        {"shf.l.wrap.b32", "rrrr", {0x89abcdef, 0x01234567, 40}, 0x23456789},
        {"shf.r.wrap.b32", "rrrr", {0x89abcdef, 0x01234567, 8}, 0x6789abcd},
        {"shf.r.clamp.b32", "rrrr", {0x89abcdef, 0x01234567, 99}, 0x01234567},
        {"lop3.b32", "rrrr", {0xf0, 0xcc, 0xaa}, 0x96, ", 0x96"},
        {"lop3.b32", "rrrr", {0xff00ff00, 0x0ff00ff0, 0x12345678}, (0xff00ff00 & 0x0ff00ff0) ^ 0x12345678, ", 0x6a"},
        {"bfe.u32", "rrrr", {0x12345678, 8, 12}, 0x456},
        {"bfe.s32", "rrrr", {0x12345e78, 8, 4}, 0xfffffffe},
        {"bfe.s32", "rrrr", {0x80000000, 28, 16}, 0xfffffff8},
        {"bfe.u64", "ddrr", {0x123456789abcdef0, 60, 4}, 1},
        {"bfi.b32", "rrrrr", {0xab, 0xffffffff, 8, 8}, 0xffffabff},
        {"brev.b32", "rr", {1}, 0x80000000},
        {"brev.b64", "dd", {2}, 0x4000000000000000},
        {"popc.b32", "rr", {0xf0f1}, 9},
        {"popc.b64", "rd", {0xf0f0f0f0f0f0f0f0}, 32},
        {"clz.b32", "rr", {0x00010000}, 15},
        {"clz.b64", "rd", {0}, 64},
        {"bfind.u32", "rr", {0x00010000}, 16},
        {"bfind.s32", "rr", {0xfffffffe}, 0},
        {"bfind.shiftamt.u32", "rr", {0x00010000}, 15},
        {"bfind.u64", "rd", {0}, 0xffffffff},
        {"prmt.b32", "rrrr", {0x33221100, 0x77665544, 0x7531}, 0x77553311},
        {"prmt.b32", "rrrr", {0x33221180, 0x77665544, 0x4818}, 0x44ff11ff},
        {"prmt.b32.f4e", "rrrr", {0x33221100, 0x77665544, 2}, 0x55443322},
        {"prmt.b32.rc16", "rrrr", {0x33221100, 0, 1}, 0x33223322},
        {"szext.wrap.s32", "rrr", {0xf8, 8}, 0xfffffff8},
        {"szext.clamp.u32", "rrr", {0xfff8, 8}, 0xf8},
        {"bmsk.clamp.b32", "rrr", {4, 8}, 0xff0}});
});

Add singles("f32 arithmetic is exact, keeps subnormals, and makes one NaN", [] {
  const float third = 1.0f / 3.0f;
  rows({{"add.f32", "fff", {f(1.5f), f(2.25f)}, f(3.75f)},
        {"add.rz.f32", "fff", {f(1.0f), f(0x1p-24f)}, f(1.0f)},
        {"add.rp.f32", "fff", {f(1.0f), f(0x1p-30f)}, f(1.0f + 0x1p-23f)},
        {"add.rm.f32", "fff", {f(-1.0f), f(-0x1p-30f)}, f(-1.0f - 0x1p-23f)},
        {"add.rn.f32", "fff", {f(1.0f), f(0x1p-24f)}, f(1.0f)},
        {"sub.f32", "fff", {kInf, kInf}, kNan},
        {"mul.f32", "fff", {f(0x1p-100f), f(0x1p-40f)}, 0x200},
        {"mul.ftz.f32", "fff", {f(0x1p-100f), f(0x1p-40f)}, 0},
        {"add.ftz.f32", "fff", {0x80000001, 0}, 0},
        {"add.sat.f32", "fff", {f(3.0f), f(1.0f)}, f(1.0f)},
        {"add.sat.f32", "fff", {kNan, f(1.0f)}, 0},
        {"fma.rn.f32", "ffff", {f(1 + 0x1p-12f), f(1 + 0x1p-12f), f(-1 - 0x1p-11f)}, f(0x1p-24f)},
        {"fma.rz.f32", "ffff", {f(third), f(3.0f), f(0.0f)}, f(1.0f)},
        {"fma.rm.f32", "ffff", {f(0x1p-80f), f(-0x1p-80f), f(1.0f)}, f(1.0f - 0x1p-24f)},
        {"mad.rn.f32", "ffff", {f(2.0f), f(3.0f), f(4.0f)}, f(10.0f)},
        {"div.rn.f32", "fff", {f(1.0f), f(3.0f)}, f(third)},
        {"div.rz.f32", "fff", {f(2.0f), f(3.0f)}, 0x3f2aaaaa},
        {"div.full.f32", "fff", {f(6.0f), f(3.0f)}, f(2.0f)},
        {"rcp.rn.f32", "ff", {f(3.0f)}, f(third)},
        {"sqrt.rn.f32", "ff", {f(2.0f)}, 0x3fb504f3},
        {"sqrt.rn.f32", "ff", {f(-1.0f)}, kNan},
        {"rcp.approx.ftz.f32", "ff", {f(4.0f)}, f(0.25f)},
        {"rsqrt.approx.f32", "ff", {f(16.0f)}, f(0.25f)},
        {"ex2.approx.ftz.f32", "ff", {f(5.0f)}, f(32.0f)},
        {"lg2.approx.f32", "ff", {f(0.125f)}, f(-3.0f)},
        {"sin.approx.f32", "ff", {f(1.0f)}, 0x3f576aa4},
        {"cos.approx.f32", "ff", {f(1.0f)}, 0x3f0a5140},
        {"tanh.approx.f32", "ff", {f(0.0f)}, 0},
        {"abs.f32", "ff", {f(-2.5f)}, f(2.5f)},
        {"neg.f32", "ff", {0}, 0x80000000},
        {"neg.ftz.f32", "ff", {1}, 0x80000000},
        {"copysign.f32", "fff", {f(-1.0f), f(3.0f)}, f(-3.0f)},
        {"min.f32", "fff", {kNan, f(3.0f)}, f(3.0f)},
        {"min.f32", "fff", {0x80000000, 0}, 0x80000000},
        {"max.f32", "fff", {0x80000000, 0}, 0},
        {"min.NaN.f32", "fff", {kNan, f(3.0f)}, kNan},
        {"max.NaN.f32", "fff", {f(3.0f), 0x7fc00001}, kNan}});
});

Add doubles("f64 arithmetic is exact", [] {
  rows({{"add.f64", "eee", {e(0.1), e(0.2)}, 0x3fd3333333333334},
        {"mul.rn.f64", "eee", {e(0.1), e(3.0)}, 0x3fd3333333333334},
        {"mul.rz.f64", "eee", {e(0.1), e(3.0)}, 0x3fd3333333333333},
        {"fma.rn.f64", "eeee", {e(0.1), e(10.0), e(-1.0)}, e(0x1p-54)},
        {"div.rn.f64", "eee", {e(1.0), e(3.0)}, 0x3fd5555555555555},
        {"sqrt.rn.f64", "ee", {e(2.0)}, 0x3ff6a09e667f3bcd},
        {"rcp.approx.ftz.f64", "ee", {e(4.0)}, e(0.25)},
        {"max.f64", "eee", {e(-1.0), e(std::nan(""))}, e(-1.0)},
        {"neg.f64", "ee", {e(0.0)}, 0x8000000000000000},
        {"abs.f64", "ee", {e(-0.5)}, e(0.5)},
        {"copysign.f64", "eee", {e(-1.0), e(2.0)}, e(-2.0)}});
});

Add halves("f16 and bf16 arithmetic rounds once, and works on both halves", [] {
  rows({{"add.f16", "hhh", {0x3c00, 0x1000}, 0x3c00},  // 1 + 2^-11: a tie, to even
        {"add.f16", "hhh", {0x3c01, 0x1000}, 0x3c02},  // the tie above goes up
        {"fma.rn.f16", "hhhh", {0x3c01, 0x3c01, 0x8000}, 0x3c02},
        {"fma.rn.f16", "hhhh", {0x3c00, 0x1000, 0x3c00}, 0x3c00},
        {"fma.rn.f16", "hhhh", {0x1001, 0x3c00, 0x3c00}, 0x3c01},  // just above the tie
        {"mul.f16", "hhh", {0x0400, 0x3800}, 0x0200},              // a subnormal
        {"mul.f16", "hhh", {0x7bff, 0x4000}, 0x7c00},
        {"sub.f16", "hhh", {0x7c00, 0x7c00}, 0x7fff},
        {"add.f16x2", "rrr", {0x3c004000, 0x40003c00}, 0x42004200},
        {"fma.rn.f16x2", "rrrr", {0x40003c00, 0x42003c00, 0x3c003c00}, 0x47004000},
        {"neg.f16x2", "rr", {0x3c004000}, 0xbc00c000},
        {"max.f16", "hhh", {0x7e00, 0x3c00}, 0x3c00},
        {"fma.rn.bf16", "hhhh", {0x3f80, 0x3f80, 0x3b80}, 0x3f80},  // 1 + 2^-8: a tie
        {"fma.rn.bf16x2", "rrrr", {0x40003f80, 0x40403f80, 0x3f803f80}, 0x40e04000},
        {"add.rn.bf16", "hhh", {0x3f80, 0x4000}, 0x4040},
        {"ex2.approx.f16", "hh", {0x4000}, 0x4400},
        {"min.bf16", "hhh", {0x3f80, 0xbf80}, 0xbf80}});
});

Add conversions("cvt rounds, saturates and extends as PTX says", [] {
  rows({{"cvt.s32.s8", "rr", {0x80}, 0xffffff80},
        {"cvt.u32.u8", "rr", {0x180}, 0x80},
        {"cvt.s64.s32", "dr", {0xfffffff0}, 0xfffffffffffffff0},
        {"cvt.u64.u32", "dr", {0xfffffff0}, 0xfffffff0},
        {"cvt.u32.u64", "rd", {0x123456789}, 0x23456789},
        {"cvt.sat.u8.s32", "rr", {0xffffff00}, 0},
        {"cvt.sat.s8.s32", "rr", {300}, 127},
        {"cvt.u16.u32", "hr", {0x12345}, 0x2345},
        {"cvt.rn.f32.s32", "fr", {0x01000001}, f(16777216.0f)},
        {"cvt.rz.f32.u32", "fr", {0xffffffff}, f(4294967040.0f)},
        {"cvt.rp.f32.u32", "fr", {0x01000001}, f(16777218.0f)},
        {"cvt.rn.f32.u64", "fd", {0x8000008000000001}, 0x5f000001},
        {"cvt.rn.f64.s64", "ed", {0x7fffffffffffffff}, e(9223372036854775808.0)},
        {"cvt.rz.f64.u64", "ed", {0xffffffffffffffff}, e(18446744073709549568.0)},
        {"cvt.rn.f16.s32", "hr", {2049}, 0x6800},
        {"cvt.rzi.s32.f32", "rf", {f(-2.7f)}, 0xfffffffe},
        {"cvt.rmi.s32.f32", "rf", {f(-2.2f)}, 0xfffffffd},
        {"cvt.rpi.s32.f32", "rf", {f(2.2f)}, 3},
        {"cvt.rni.s32.f32", "rf", {f(2.5f)}, 2},
        {"cvt.rni.s32.f32", "rf", {f(3.5f)}, 4},
        {"cvt.rzi.s32.f32", "rf", {f(3e9f)}, 0x7fffffff},
        {"cvt.rzi.u32.f32", "rf", {f(-3.0f)}, 0},
        {"cvt.rzi.s32.f32", "rf", {kNan}, 0},
        {"cvt.rzi.u8.f32", "rf", {f(300.0f)}, 255},
        {"cvt.rzi.s64.f64", "de", {e(-1e18)}, static_cast<uint64_t>(-1000000000000000000)},
        {"cvt.rni.f32.f32", "ff", {f(-0.5f)}, 0x80000000},
        {"cvt.rmi.f32.f32", "ff", {f(-0.5f)}, f(-1.0f)},
        {"cvt.sat.f32.f32", "ff", {f(7.0f)}, f(1.0f)},
        {"cvt.rn.f32.f64", "fe", {e(1.0 + 0x1p-24)}, f(1.0f)},
        {"cvt.rp.f32.f64", "fe", {e(1.0 + 0x1p-40)}, f(1.0f + 0x1p-23f)},
        {"cvt.f64.f32", "ef", {f(0.1f)}, e(0.1f)},
        {"cvt.rn.f16.f32", "hf", {f(65519.0f)}, 0x7bff},
        {"cvt.rn.f16.f32", "hf", {f(65520.0f)}, 0x7c00},
        {"cvt.rz.f16.f32", "hf", {f(1e9f)}, 0x7bff},
        {"cvt.rn.f16.f32", "hf", {f(0x1p-25f)}, 0},
        {"cvt.rn.f16.f32", "hf", {f(0x1.8p-25f)}, 1},
        {"cvt.f32.f16", "fh", {0x0001}, f(0x1p-24f)},
        {"cvt.f32.f16", "fh", {0xfc00}, f(-INFINITY)},
        {"cvt.f32.bf16", "fh", {0x3f80}, f(1.0f)},
        {"cvt.rn.bf16.f32", "hf", {0x3f808000}, 0x3f80},
        {"cvt.rn.bf16.f32", "hf", {0x3f818000}, 0x3f82},
        {"cvt.rn.bf16.f32", "hf", {0x7f7fffff}, 0x7f80},
        {"cvt.rn.bf16x2.f32", "rff", {f(1.0f), f(2.0f)}, 0x3f804000},
        {"cvt.rn.f16x2.f32", "rff", {f(1.0f), f(2.0f)}, 0x3c004000},
        {"cvt.rn.relu.f16x2.f32", "rff", {f(-1.0f), f(2.0f)}, 0x4000},
        {"cvt.rna.tf32.f32", "rf", {0x3f801000}, 0x3f802000},
        {"cvt.rna.tf32.f32", "rf", {0x3f800fff}, 0x3f800000},
        {"cvt.rn.tf32.f32", "rf", {0x3f801000}, 0x3f800000}});
});

Add comparisons("setp compares numbers, NaN and combines", [] {
  rows({{"setp.lt.s32", "prr", {0xffffffff, 0}, 1},
        {"setp.lt.u32", "prr", {0xffffffff, 0}, 0},
        {"setp.lo.u32", "prr", {1, 2}, 1},
        {"setp.hs.u32", "prr", {2, 2}, 1},
        {"setp.ne.s64", "pdd", {1, 1ull << 40}, 1},
        {"setp.ge.s16", "phh", {0xffff, 1}, 0},
        {"setp.eq.f32", "pff", {0, 0x80000000}, 1},
        {"setp.lt.f32", "pff", {kNan, f(1.0f)}, 0},
        {"setp.ltu.f32", "pff", {kNan, f(1.0f)}, 1},
        {"setp.ne.f32", "pff", {kNan, kNan}, 0},
        {"setp.neu.f32", "pff", {kNan, kNan}, 1},
        {"setp.num.f32", "pff", {kNan, f(1.0f)}, 0},
        {"setp.nan.f64", "pee", {e(std::nan("")), e(1.0)}, 1},
        {"setp.eq.ftz.f32", "pff", {1, 0}, 1},
        {"setp.gt.f16", "phh", {0x4000, 0x3c00}, 1},
        {"setp.lt.bf16", "phh", {0xbf80, 0x3f80}, 1},
        {"set.lt.u32.f32", "rff", {f(1.0f), f(2.0f)}, 0xffffffff},
        {"set.lt.f32.f32", "rff", {f(1.0f), f(2.0f)}, f(1.0f)},
        {"slct.f32.s32", "fffr", {f(1.0f), f(2.0f), 0xffffffff}, f(2.0f)},
        {"testp.subnormal.f32", "pf", {1}, 1},
        {"testp.finite.f64", "pe", {e(INFINITY)}, 0}});
  const auto r = evaluate(
      "ld.global.v2.u32 {%r1, %r2}, [%rd0];\nsetp.eq.u32 %p1, %r2, 1;\nsetp.lt.and.u32 %p2|%p3, %r1, 10, %p1;\n"
      "setp.lt.or.u32 %p4, %r1, 10, !%p1;\nselp.b32 %r3, 1, 0, %p2;\nselp.b32 %r4, 1, 0, %p3;\nselp.b32 %r5, 1, 0, "
      "%p4;\n"
      "st.global.v2.u32 [%rd1], {%r3, %r4};\nst.global.u32 [%rd1+8], %r5;",
      {{5 | 1ull << 32}, {50 | 1ull << 32}, {5}, {50}});
  const uint64_t expected[4][2] = {{1, 1}, {1ull << 32, 0}, {0, 1}, {0, 1}};
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 2; k++) same("combined", r[i][k], expected[i][k]);
});

Add moves("mov packs and unpacks; narrow values widen when loaded", [] {
  const auto r = evaluate(
      "ld.global.u64 %rd5, [%rd0];\nmov.b64 {%r1, %r2}, %rd5;\nmov.b64 %rd6, {%r2, %r1};\nst.global.u64 [%rd1], %rd6;\n"
      "mov.b32 {%rs1, _}, %r1;\nmov.b32 {_, %rs2}, %r2;\nmov.b32 %r3, {%rs1, %rs2};\nst.global.u32 [%rd1+8], %r3;\n"
      "ld.global.s8 %r4, [%rd0+7];\nst.global.u32 [%rd1+12], %r4;\nld.global.s32 %rd7, [%rd0+4];\nst.global.u64 "
      "[%rd1+16], %rd7;\n"
      "st.global.u16 [%rd1+24], %rd5;",
      {{0x89abcdef01234567}});
  same<uint64_t>("swapped", r[0][0], 0x0123456789abcdef);
  same<uint64_t>("halves and a signed byte", r[0][1], 0xffffff8989ab4567);
  same<uint64_t>("a signed word", r[0][2], 0xffffffff89abcdef);
  same<uint64_t>("the low half", r[0][3], 0x4567);
});

}  // namespace
}  // namespace check
