// Rendered CUDA kernels on the host: every thread of a block is a fiber, blocks run one after another.
//
// Threads run in ascending or descending order from barrier to barrier, so that a missing barrier gives wrong numbers
// in one of the two. Shared memory is filled with 0xCB before each block. Each buffer lies against an inaccessible
// page, at its end in one order and at its beginning in the other; what else its pages hold is filled with 0xA5 and
// checked.
//
// usage: <program> <jobs> <results>. A job: kernel, order (0 or 1), grid, block, number of arguments, arguments; an
// argument: kind 0 null pointer, 1 input (bytes and contents), 2 output (bytes; filled with 0xFF), 3 int, 4 long long,
// 5 double, 6 input and output (bytes and contents), 7 table of numbers (capacity, how many, which), 8 table of
// pointers (capacity, how many, arguments of kind 0, 1, 2 or 6). The result of a job: damaged bytes, threads that
// missed a barrier, then the contents of what is of kind 2 or 6.
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define __global__
#define __device__
#define __forceinline__ inline
#define __constant__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((section("block_shared")))

struct Extent {
  unsigned x, y, z;
};
static Extent threadIdx, blockIdx, blockDim, gridDim;
extern char __start_block_shared[], __stop_block_shared[];

static inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
static inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline long long __double_as_longlong(double value) {
  long long bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
static inline double __longlong_as_double(long long bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
static inline void sincospi(double x, double* sine, double* cosine) {
  *sine = (double)sinl(3.141592653589793238462643383279502884L * x);
  *cosine = (double)cosl(3.141592653589793238462643383279502884L * x);
}
static inline size_t __cvta_generic_to_shared(const void* at) {
  return (const char*)at - __start_block_shared;
}
// Threads take turns, so that nothing more is needed.
static inline void __threadfence() {}
static inline unsigned atomicAdd(unsigned* at, unsigned value) {
  const unsigned old = *at;
  *at = old + value;
  return old;
}

namespace host {

// What a launch asks for beside a kernel's own shared variables.
alignas(16) __attribute__((section("block_shared"))) static char dynamic_shared[128 * 1024];

// cp.async, done at once.
static inline void copy_async(unsigned to, const void* from, unsigned bytes, bool there) {
  if (there)
    memcpy(__start_block_shared + to, from, bytes);
  else
    memset(__start_block_shared + to, 0, bytes);
}

// The two conversions that kernels write in PTX, in plain arithmetic. half: 1 sign, 5 exponent, 10 mantissa bits.
static inline float float_of_half(unsigned short half) {
  const unsigned size = half & 0x7fffu;
  const unsigned scaled = __float_as_uint(__uint_as_float(size << 13) * 5.192296858534828e33f);
  return __uint_as_float(scaled | (size >= 0x7c00u ? 0x7f800000u : 0u) | ((half & 0x8000u) << 16));
}

// To the nearest, ties to even.
static inline unsigned short half_of_float(float value) {
  const unsigned bits = __float_as_uint(value);
  const unsigned size = bits & 0x7fffffffu;
  const unsigned normal = (size + 0xfffu + ((size >> 13) & 1u) - 0x38000000u) >> 13;
  const unsigned small = __float_as_uint(__uint_as_float(size) + 0.5f) - 0x3f000000u;
  const unsigned finite = size >= 0x47800000u ? 0x7c00u : size < 0x38800000u ? small : normal;
  return (unsigned short)((size > 0x7f800000u ? 0x7fffu : finite) | (bits >> 16 & 0x8000u));
}

typedef void (*Kernel)(void** params);

constexpr int MOST_THREADS = 1024;
constexpr size_t STACK = 64 * 1024, PAGE = 4096;

enum State { FRESH, WAITING, DONE };

struct Fiber {
  ucontext_t start;
  jmp_buf at;
  State state;
};

Fiber fibers[MOST_THREADS];
char* stacks;
jmp_buf scheduler;
int current;
Kernel kernel;
void** params;
int job;

void yield(State state) {
  fibers[current].state = state;
  if (_setjmp(fibers[current].at) == 0) _longjmp(scheduler, 1);
}

void fiber_main() {
  kernel(params);
  yield(DONE);
}

void resume(int thread) {
  current = thread;
  threadIdx = {(unsigned)thread, 0, 0};
  if (_setjmp(scheduler) != 0) return;
  Fiber& fiber = fibers[thread];
  if (fiber.state == WAITING) _longjmp(fiber.at, 1);
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = stacks + thread * STACK;
  fiber.start.uc_stack.ss_size = STACK;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, fiber_main, 0);
  setcontext(&fiber.start);
}

// Runs one block; returns how many threads were done while others waited at a barrier.
int run_block(int threads, int descending) {
  memset(__start_block_shared, 0xCB, __stop_block_shared - __start_block_shared);
  for (int t = 0; t < threads; ++t) fibers[t].state = FRESH;
  for (int missed = 0;;) {
    int waiting = 0;
    for (int t = 0; t < threads; ++t) {
      const int thread = descending ? threads - 1 - t : t;
      if (fibers[thread].state != DONE) resume(thread);
      waiting += fibers[thread].state == WAITING;
    }
    if (waiting == 0) return missed;
    missed += threads - waiting;
  }
}

struct Buffer {
  char* pages;
  size_t mapped, bytes;
  char* data;
};

Buffer make_buffer(size_t bytes, int at_start) {
  const size_t inner = (bytes / PAGE + 1) * PAGE, mapped = inner + 2 * PAGE;
  char* const pages = (char*)mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED || mprotect(pages + PAGE, inner, PROT_READ | PROT_WRITE) != 0) abort();
  memset(pages + PAGE, 0xA5, inner);
  return {pages, mapped, bytes, pages + PAGE + (at_start ? 0 : inner - bytes)};
}

int damaged_bytes(const Buffer& buffer) {
  int damaged = 0;
  for (char* at = buffer.pages + PAGE; at < buffer.pages + buffer.mapped - PAGE; ++at)
    if ((at < buffer.data || at >= buffer.data + buffer.bytes) && (unsigned char)*at != 0xA5) ++damaged;
  return damaged;
}

template <class Value>
Value take(FILE* from) {
  Value value;
  if (fread(&value, sizeof value, 1, from) != 1) abort();
  return value;
}

// One argument: where its value lies, for pointers the buffer and a copy of what went in, for tables their entries.
struct Argument {
  int kind;
  union {
    void* pointer;
    int i;
    long long l;
    double d;
  };
  Buffer buffer;
  char* original;
  int entries;
  Argument* table;
  long long* values;
};

bool is_buffer(int kind) {
  return kind == 1 || kind == 2 || kind == 6;
}

Argument take_argument(FILE* jobs, int order) {
  Argument argument = {};
  argument.kind = take<int>(jobs);
  if (is_buffer(argument.kind)) {
    const size_t bytes = (size_t)take<long long>(jobs);
    argument.buffer = make_buffer(bytes, order);
    argument.pointer = argument.buffer.data;
    memset(argument.pointer, 0xFF, bytes);
    if (argument.kind != 2 && bytes > 0 && fread(argument.pointer, bytes, 1, jobs) != 1) abort();
    argument.original = (char*)malloc(bytes + 1);
    memcpy(argument.original, argument.pointer, bytes);
  }
  if (argument.kind == 3) argument.i = take<int>(jobs);
  if (argument.kind == 4) argument.l = take<long long>(jobs);
  if (argument.kind == 5) argument.d = take<double>(jobs);
  if (argument.kind < 7) return argument;
  const int capacity = take<int>(jobs);
  argument.entries = take<int>(jobs);
  if (argument.entries > capacity) abort();
  argument.values = (long long*)calloc(capacity, sizeof(long long));
  argument.table = (Argument*)calloc(capacity, sizeof(Argument));
  for (int i = 0; i < argument.entries; ++i) {
    if (argument.kind == 7) {
      argument.values[i] = take<long long>(jobs);
    } else {
      argument.table[i] = take_argument(jobs, order);
      argument.values[i] = (long long)argument.table[i].pointer;
    }
  }
  return argument;
}

// Where the value lies that the kernel is given.
void* value_of(Argument& argument) {
  return argument.kind < 7 ? (void*)&argument.pointer : argument.values;
}

int damage(const Argument& argument) {
  int damaged = 0;
  for (int i = 0; argument.kind == 8 && i < argument.entries; ++i) damaged += damage(argument.table[i]);
  if (!is_buffer(argument.kind)) return damaged;
  damaged = damaged_bytes(argument.buffer);
  if (argument.kind == 1) damaged += memcmp(argument.original, argument.pointer, argument.buffer.bytes) != 0;
  return damaged;
}

void write_outputs(const Argument& argument, FILE* results) {
  if (argument.kind == 2 || argument.kind == 6) fwrite(argument.pointer, 1, argument.buffer.bytes, results);
  for (int i = 0; argument.kind == 8 && i < argument.entries; ++i) write_outputs(argument.table[i], results);
}

void release(Argument& argument) {
  for (int i = 0; argument.kind == 8 && i < argument.entries; ++i) release(argument.table[i]);
  free(argument.table);
  free(argument.values);
  free(argument.original);
  if (is_buffer(argument.kind)) munmap(argument.buffer.pages, argument.buffer.mapped);
}

void run_job(FILE* jobs, FILE* results, const Kernel* kernels) {
  const int index = take<int>(jobs), order = take<int>(jobs);
  gridDim = take<Extent>(jobs);
  blockDim = take<Extent>(jobs);
  Argument arguments[40];
  void* values[40];
  const int count = take<int>(jobs);
  for (int i = 0; i < count; ++i) arguments[i] = take_argument(jobs, order);
  for (int i = 0; i < count; ++i) values[i] = value_of(arguments[i]);
  kernel = kernels[index];
  params = values;
  int missed = 0;
  for (unsigned z = 0; z < gridDim.z; ++z)
    for (unsigned y = 0; y < gridDim.y; ++y)
      for (unsigned x = 0; x < gridDim.x; ++x) {
        blockIdx = {x, y, z};
        missed += run_block((int)blockDim.x, order);
      }
  int damaged = 0;
  for (int i = 0; i < count; ++i) damaged += damage(arguments[i]);
  fwrite(&damaged, sizeof damaged, 1, results);
  fwrite(&missed, sizeof missed, 1, results);
  for (int i = 0; i < count; ++i) write_outputs(arguments[i], results);
  for (int i = 0; i < count; ++i) release(arguments[i]);
}

void on_fault(int) {
  char text[240];
  const int length =
      snprintf(text, sizeof text,
               "job %d: thread %d of block %u, %u touched memory that is not its own, or did what is undefined\n", job,
               current, blockIdx.x, blockIdx.y);
  if (write(2, text, length) < 0) _exit(4);
  _exit(3);
}

int run(int count, char** words, const Kernel* kernels) {
  if (count != 3) return 2;
  struct sigaction action = {};
  stack_t alternative = {};
  alternative.ss_sp = malloc(STACK);
  alternative.ss_size = STACK;
  sigaltstack(&alternative, nullptr);
  action.sa_handler = on_fault;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
  sigaction(SIGILL, &action, nullptr);
  sigaction(SIGTRAP, &action, nullptr);
  stacks = (char*)malloc(MOST_THREADS * STACK);
  FILE* const jobs = fopen(words[1], "rb");
  FILE* const results = fopen(words[2], "wb");
  if (!jobs || !results) return 2;
  const int total = take<int>(jobs);
  for (job = 0; job < total; ++job) run_job(jobs, results, kernels);
  return fclose(results) == 0 ? 0 : 2;
}

}  // namespace host

static inline void __syncthreads() {
  host::yield(host::WAITING);
}
