#include "machine_check.h"

#include <cinttypes>
#include <cstdio>

namespace check {

std::vector<Case>& cases() {
  static std::vector<Case> list;
  return list;
}

std::string& folder() {
  static std::string path;
  return path;
}

std::string hex(uint64_t n) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%" PRIx64, n);
  return text;
}

void contains(const std::string& text, const std::string& part) {
  if (text.find(part) == std::string::npos) failed("the sentence must hold '" + part + "', got: " + text);
}

Rig::Rig(const std::string& ptx) {
  std::string error;
  int result = 0;
  module = Module::parse(ptx.data(), ptx.size(), memory, error, result);
  if (module == nullptr) failed(error);
}

uint64_t Rig::array(const void* data, size_t bytes) {
  const uint64_t address = memory.allocate(bytes);
  std::memcpy(memory.host(address, bytes), data, bytes);
  return address;
}

Outcome start(Rig& rig, const std::string& kernel, Launch launch, const std::vector<uint64_t>& parameters) {
  const Function* f = rig.module->function(kernel);
  if (f == nullptr) failed("there is no kernel " + kernel);
  std::vector<uint8_t> block(f->parameter_bytes + 8);
  for (size_t i = 0; i < parameters.size(); i++)
    std::memcpy(block.data() + f->parameters.at(i).offset, &parameters[i], f->parameters[i].bytes);
  launch.parameters = block.data();
  return simulator::launch(*f, launch, rig.memory);
}

Counters must_run(Rig& rig, const std::string& kernel, Launch launch, const std::vector<uint64_t>& parameters) {
  const Outcome outcome = start(rig, kernel, launch, parameters);
  if (outcome.result != kOk) failed(outcome.sentence);
  return outcome.counters;
}

std::string around(const std::string& body) {
  return ".version 8.0\n.target sm_90\n.address_size 64\n"
         ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n"
         ".reg .pred %p<20>; .reg .b16 %rs<40>; .reg .b32 %r<40>; .reg .b64 %rd<40>; .reg .f32 %f<40>; .reg .f64 "
         "%fd<40>;\n"
         "ld.param.u64 %rd0, [in];\nld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\n"
         "mul.wide.u32 %rd2, %r0, 32;\nadd.u64 %rd0, %rd0, %rd2;\nadd.u64 %rd1, %rd1, %rd2;\n" +
         body + "\nret;\n}\n";
}

std::vector<Words> evaluate(const std::string& body, const std::vector<Words>& inputs) {
  Rig rig(around(body));
  std::vector<uint64_t> flat;
  for (const Words& w : inputs)
    for (size_t k = 0; k < 4; k++) flat.push_back(k < w.size() ? w[k] : 0);
  const uint64_t in = rig.array(flat), out = rig.array(std::vector<uint64_t>(flat.size(), 0));
  Launch launch;
  launch.block[0] = static_cast<uint32_t>(inputs.size());
  must_run(rig, "k", launch, {in, out});
  const auto made = rig.read<uint64_t>(out, flat.size());
  std::vector<Words> results;
  for (size_t i = 0; i < inputs.size(); i++) results.emplace_back(made.begin() + 4 * i, made.begin() + 4 * i + 4);
  return results;
}

uint64_t one(const std::string& op, const std::string& types, const std::vector<uint64_t>& sources,
             const std::string& rest) {
  const auto name = [](char type, size_t n) {
    const std::string number = std::to_string(n + 10);
    switch (type) {
      case 'd':
        return "%rd" + number;
      case 'h':
        return "%rs" + number;
      case 'f':
        return "%f" + number;
      case 'e':
        return "%fd" + number;
      case 'p':
        return "%p" + std::to_string(n + 1);
      default:
        return "%r" + number;
    }
  };
  const auto type = [](char t) { return t == 'd' || t == 'e' ? ".b64 " : t == 'h' ? ".b16 " : ".b32 "; };
  std::string body, list;
  for (size_t i = 1; i < types.size(); i++) {
    body += std::string("ld.global") + type(types[i]) + name(types[i], i) + ", [%rd0+" + std::to_string(8 * (i - 1)) +
            "];\n";
    list += ", " + name(types[i], i);
  }
  body += op + " " + name(types[0], 0) + list + rest + ";\n";
  if (types[0] == 'p')
    body += "selp.b32 %r39, 1, 0, %p1;\nst.global.b32 [%rd1], %r39;\n";
  else
    body += std::string("st.global") + type(types[0]) + "[%rd1], " + name(types[0], 0) + ";\n";
  return evaluate(body, {sources})[0][0];
}

}  // namespace check

int main(int count, char** words) {
  if (count > 1) check::folder() = words[1];
  int bad = 0;
  for (const check::Case& c : check::cases()) {
    try {
      c.run();
      std::printf("ok %s\n", c.name.c_str());
    } catch (const check::LeftOut&) {
      std::printf("ok %s: left out, no image for it\n", c.name.c_str());
    } catch (const std::exception& e) {
      std::printf("not ok %s: %s\n", c.name.c_str(), e.what());
      bad++;
    }
  }
  return bad == 0 ? 0 : 1;
}
