// Modules and launches.
#include "machine.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <numeric>
#include <thread>

#include "decode.h"
#include "lanes.h"

namespace simulator {

namespace {

constexpr uint8_t kSharedFill = 0xcb;

struct Grid {
  Grid(const Function& f, const Launch& l, Memory& m) : function(f), launch(l), memory(m) {}
  const Function& function;
  const Launch& launch;
  Memory& memory;
  uint64_t blocks = 0;
  uint64_t factor = 1, shift = 0;  // kMixed: the i-th block to go is number i * factor + shift
  std::atomic<uint64_t> next{0};
  std::atomic<uint64_t> stop{~uint64_t{0}};  // turns from here on need not run
  std::mutex mutex;
  Outcome outcome;
  uint64_t failed_turn = ~uint64_t{0};
  std::vector<OpCount> counts;

  uint64_t block_of(uint64_t turn) const {
    switch (launch.order.kind) {
      case Order::kReverse:
        return blocks - 1 - turn;
      case Order::kMixed:
        return static_cast<uint64_t>((static_cast<unsigned __int128>(turn) * factor + shift) % blocks);
      default:
        return turn;
    }
  }
};

void fill(Warp& w, uint32_t at, bool wide, uint64_t value) {
  for (int i = 0; i < 32; i++) {
    if (wide)
      cells<uint64_t>(w, at)[i] = value;
    else
      cells<uint32_t>(w, at)[i] = static_cast<uint32_t>(value);
  }
}

uint64_t special_value(Special which, const Block& block, const Warp& w, uint32_t lane) {
  const uint32_t *b = block.launch->block, *g = block.launch->grid;
  const uint32_t n = w.index * 32 + lane;
  switch (which) {
    case Special::kTidX:
      return n % b[0];
    case Special::kTidY:
      return n / b[0] % b[1];
    case Special::kTidZ:
      return n / b[0] / b[1];
    case Special::kNtidX:
      return b[0];
    case Special::kNtidY:
      return b[1];
    case Special::kNtidZ:
      return b[2];
    case Special::kCtaidX:
      return block.id[0];
    case Special::kCtaidY:
      return block.id[1];
    case Special::kCtaidZ:
      return block.id[2];
    case Special::kNctaidX:
      return g[0];
    case Special::kNctaidY:
      return g[1];
    case Special::kNctaidZ:
      return g[2];
    case Special::kLane:
      return lane;
    case Special::kWarp:
      return w.index;
    case Special::kWarps:
      return block.warps.size();
    case Special::kMaskEq:
      return 1u << lane;
    case Special::kMaskLt:
      return (1u << lane) - 1;
    case Special::kMaskLe:
      return (2u << lane) - 1u;
    case Special::kMaskGe:
      return ~((1u << lane) - 1);
    case Special::kMaskGt:
      return ~((2u << lane) - 1u);
    case Special::kDynamicShared:
      return block.launch->dynamic_shared_bytes;
    case Special::kTotalShared:
      return block.shared_bytes;
    case Special::kSms:
    case Special::kOne:
      return 1;
    default:
      return 0;
  }
}

bool of_block(Special which) {
  return which == Special::kCtaidX || which == Special::kCtaidY || which == Special::kCtaidZ;
}

void fill_specials(Block& block, bool first) {
  for (Warp& w : block.warps)
    for (const Code::SpecialCell& s : block.code->specials) {
      if (!first && !of_block(s.which)) continue;
      for (uint32_t lane = 0; lane < 32; lane++) {
        const uint64_t value = special_value(s.which, block, w, lane);
        if (s.wide)
          cells<uint64_t>(w, s.at)[lane] = value;
        else
          cells<uint32_t>(w, s.at)[lane] = static_cast<uint32_t>(value);
      }
    }
}

// What a host thread needs to run blocks of the launch, one after another. Registers keep what the block before left.
void prepare(Block& block, const Grid& grid, std::vector<uint8_t>& storage) {
  const Code& code = *grid.function.code;
  block.code = &code;
  block.launch = &grid.launch;
  block.memory = &grid.memory;
  block.delta = grid.memory.delta();
  const uint32_t* b = grid.launch.block;
  block.threads = b[0] * b[1] * b[2];
  block.warps.resize((block.threads + 31) / 32);
  const uint32_t dynamic =
      (code.shared_bytes + code.dynamic_alignment - 1) / code.dynamic_alignment * code.dynamic_alignment;
  block.shared_bytes =
      grid.launch.dynamic_shared_bytes != 0 ? dynamic + grid.launch.dynamic_shared_bytes : code.shared_bytes;
  block.shared.resize(block.shared_bytes + 64);
  block.found.resize(code.ops.size());
  block.counts.resize(code.ops.size());
  const size_t local = size_t{32} * code.local_bytes;
  const size_t each = (code.register_bytes + local + 255) / 256 * 256;
  if (storage.size() < each * block.warps.size() + 64) storage.resize(each * block.warps.size() + 64);
  uint8_t* at = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(storage.data()) + 63) / 64 * 64);
  for (size_t i = 0; i < block.warps.size(); i++, at += each) {
    Warp& w = block.warps[i];
    w.index = static_cast<uint32_t>(i);
    w.block = &block;
    w.code = &code;
    w.registers = at;
    w.local = at + code.register_bytes;
    std::memset(at, kSharedFill, each);
    for (const Code::Literal& l : code.literals) fill(w, l.at, l.wide, l.value);
    const uint32_t lanes = std::min(32u, block.threads - 32 * w.index);
    w.present = lanes == 32 ? kAll : (1u << lanes) - 1;
  }
  fill_specials(block, true);
}

void run_blocks(Grid& grid) {
  thread_local std::vector<uint8_t> storage;
  Block block;
  prepare(block, grid, storage);
  const uint32_t* g = grid.launch.grid;
  for (;;) {
    const uint64_t turn = grid.next.fetch_add(1);
    if (turn >= grid.blocks || turn >= grid.stop.load()) break;
    const uint64_t n = grid.block_of(turn);
    block.linear = n;
    block.id[0] = static_cast<uint32_t>(n % g[0]);
    block.id[1] = static_cast<uint32_t>(n / g[0] % g[1]);
    block.id[2] = static_cast<uint32_t>(n / g[0] / g[1]);
    fill_specials(block, false);
    std::memset(block.shared.data(), kSharedFill, block.shared.size());
    std::memset(block.arrived, 0, sizeof block.arrived);
    for (Warp& w : block.warps) {
      w.fragments.assign(1, {Fragment::kReady, 0, w.present, 0, 0, 0, nullptr});
      w.copies.clear();
      std::memset(w.groups, 0, sizeof w.groups);
      w.exited = 0;
      w.active = 0;
      w.steps = 0;
      w.event = false;
    }
    run_block(block);
    if (block.result == kOk) continue;
    const std::lock_guard lock(grid.mutex);
    if (turn < grid.failed_turn) {
      grid.failed_turn = turn;
      grid.outcome.result = block.result;
      grid.outcome.sentence = block.sentence;
      grid.stop = turn;
    }
    break;
  }
  const std::lock_guard lock(grid.mutex);
  for (size_t i = 0; i < grid.counts.size(); i++) {
    grid.counts[i].warp += block.counts[i].warp;
    grid.counts[i].thread += block.counts[i].thread;
  }
  grid.outcome.counters.add(block.counters);
}

void count_operations(Grid& grid) {
  Counters& counters = grid.outcome.counters;
  const auto& ops = grid.function.code->ops;
  for (size_t i = 0; i < ops.size(); i++) {
    if (ops[i].hidden) continue;
    counters.warp[ops[i].kind] += grid.counts[i].warp;
    counters.thread[ops[i].kind] += grid.counts[i].thread;
    counters.multiply_adds += ops[i].multiply_adds * grid.counts[i].thread;
  }
}

}  // namespace

Outcome launch(const Function& function, const Launch& launch, Memory& memory) {
  Grid grid(function, launch, memory);
  grid.blocks = uint64_t{launch.grid[0]} * launch.grid[1] * launch.grid[2];
  grid.counts.resize(function.code->ops.size());
  const uint64_t threads = uint64_t{launch.block[0]} * launch.block[1] * launch.block[2];
  if (grid.blocks == 0 || threads == 0 || threads > 1024) {
    grid.outcome.result = kLaunchOutOfResources;
    grid.outcome.sentence = function.name + ": a block must have 1 to 1024 threads and a grid a block, got " +
                            std::to_string(threads) + " threads and " + std::to_string(grid.blocks) + " blocks";
    return grid.outcome;
  }
  if (launch.order.kind == Order::kMixed) {
    grid.shift = launch.order.seed % grid.blocks;
    grid.factor = (launch.order.seed * 2654435761u + 1) % grid.blocks | 1;
    while (std::gcd(grid.factor, grid.blocks) != 1) grid.factor += 2;
  }
  const uint64_t wanted = function.code->one_host_thread ? 1 : std::max(1u, launch.host_threads);
  const auto helpers = static_cast<size_t>(std::min(wanted, grid.blocks) - 1);
  std::vector<std::thread> team;
  for (size_t i = 0; i < helpers; i++) team.emplace_back([&] { run_blocks(grid); });
  run_blocks(grid);
  for (std::thread& t : team) t.join();
  count_operations(grid);
  grid.outcome.counters.blocks = grid.blocks;
  grid.outcome.counters.threads = grid.blocks * threads;
  return std::move(grid.outcome);
}

struct ModuleBuilder {
  static void variables(Module& module, const ModuleText& text, ModuleNames& names) {
    Memory& memory = module.memory_;
    for (const Variable& v : text.variables) {
      if (v.space == Space::kShared) {
        names.places[v.name] = {Space::kShared, 0, &v};
        continue;
      }
      if (v.external) throw PtxError{v.line, "a variable must be defined in its module, got .extern " + v.name};
      const uint64_t address = memory.allocate(std::max<uint64_t>(v.bytes, 1));
      if (address == 0)
        throw PtxError{v.line,
                       "variables of a module must fit into memory, got " + std::to_string(v.bytes) + " bytes more"};
      uint8_t* at = memory.host(address, v.bytes);
      if (at != nullptr) std::memset(at, 0, v.bytes);
      if (!v.initial.empty()) std::memcpy(at, v.initial.data(), v.initial.size());
      module.globals_[v.name] = {address, address + v.bytes};
      names.places[v.name] = {v.space, address, &v};
    }
    for (const Variable& v : text.variables)
      for (const Variable::Address& a : v.addresses) {
        const auto found = module.globals_.find(a.symbol);
        if (found == module.globals_.end())
          throw PtxError{v.line, "an initial value must be the address of a variable, got " + a.symbol};
        const uint64_t value = found->second.begin + static_cast<uint64_t>(a.offset);
        std::memcpy(memory.host(module.globals_[v.name].begin, v.bytes) + a.at, &value, 8);
      }
  }

  static std::unique_ptr<Function> function(const FunctionText& text, const ModuleNames& names,
                                            uint32_t constant_bytes) {
    auto f = std::make_unique<Function>();
    const std::shared_ptr<Code> code = decode(text, names);
    f->name = text.name;
    uint32_t offset = 0;
    for (const Variable& v : text.parameters) {
      offset = (offset + v.alignment - 1) / v.alignment * v.alignment;
      f->parameters.push_back({offset, static_cast<uint32_t>(v.bytes), v.alignment});
      offset += static_cast<uint32_t>(v.bytes);
    }
    f->parameter_bytes = offset;
    f->static_shared_bytes = code->shared_bytes;
    f->local_bytes = code->local_bytes;
    f->max_threads = text.max_threads == 0 ? 1024 : std::min(text.max_threads, 1024u);
    std::copy(text.required_block, text.required_block + 3, f->required_block);
    uint32_t bytes = 0;
    for (const Type type : text.registers) bytes += bytes_of(type) == 8 ? 8 : type == Type::kPred ? 0 : 4;
    f->registers = std::clamp(bytes / 4, 8u, 255u);
    f->constant_bytes = constant_bytes;
    f->code = code;
    return f;
  }

  static std::unique_ptr<Module> build(const ModuleText& text, Memory& memory) {
    std::unique_ptr<Module> module(new Module(memory));
    module->version_ = text.version;
    module->target_ = text.target;
    module->specific_ = text.specific;
    ModuleNames names{&text, {}};
    variables(*module, text, names);
    uint32_t constant_bytes = 0;
    for (const Variable& v : text.variables)
      if (v.space == Space::kConstant) constant_bytes += static_cast<uint32_t>(v.bytes);
    for (const auto& [name, f] : text.functions)
      if (f.entry && f.body) module->functions_.push_back(function(f, names, constant_bytes));
    return module;
  }
};

std::unique_ptr<Module> Module::parse(const char* text, size_t size, Memory& memory, std::string& error, int& result) {
  result = kOk;
  try {
    return ModuleBuilder::build(parse_ptx(text, size), memory);
  } catch (const PtxError& e) {
    error = "line " + std::to_string(e.line) + ": " + e.sentence;
    result = e.version ? kUnsupportedPtxVersion : kInvalidPtx;
    return nullptr;
  }
}

Module::~Module() {
  for (const auto& [name, range] : globals_) memory_.free(range.begin);
}

const Function* Module::function(const std::string& name) const {
  for (const auto& f : functions_)
    if (f->name == name) return f.get();
  return nullptr;
}

Range Module::global(const std::string& name) const {
  const auto found = globals_.find(name);
  return found == globals_.end() ? Range{} : found->second;
}

}  // namespace simulator
