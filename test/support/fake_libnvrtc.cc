// A stand-in for NVRTC: a text with the word `wrong` does not compile and has a log of 30 lines, the option `--odd` is
// refused without a log, anything else gives an image that names its options. FAKE_NVRTC_VERSION is the answer of
// nvrtcVersion; -DPTX_ONLY leaves out machine code, -DINCOMPLETE an entry that nothing works without.
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

struct _nvrtcProgram {
  std::string source, name, image, log;
  bool cubin = false;
};

extern "C" {

const char* nvrtcGetErrorString(int result) {
  return result == 6 ? "NVRTC_ERROR_COMPILATION" : result == 5 ? "NVRTC_ERROR_INVALID_OPTION" : "NVRTC_ERROR_OTHER";
}
int nvrtcVersion(int* major, int* minor) {
  *major = 12, *minor = 4;
  const char* result = std::getenv("FAKE_NVRTC_VERSION");
  return result == nullptr ? 0 : std::atoi(result);
}
int nvrtcGetNumSupportedArchs(int* count) {
  return *count = 3, 0;
}
int nvrtcGetSupportedArchs(int* archs) {
  return archs[0] = 75, archs[1] = 80, archs[2] = 90, 0;
}
int nvrtcCreateProgram(_nvrtcProgram** program, const char* source, const char* name, int headers, const char* const*,
                       const char* const*) {
  if (headers != 0) return 3;
  *program = new _nvrtcProgram{source, name, "", ""};
  return 0;
}
int nvrtcCompileProgram(_nvrtcProgram* program, int count, const char* const* options) {
  // As NVRTC does it: a handler of its own for a while, then the old one without its flags.
  std::signal(SIGTERM, std::signal(SIGTERM, SIG_IGN));
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(options[i], "--odd") == 0) return 5;
    program->cubin = program->cubin || std::strstr(options[i], "=sm_") != nullptr;
    program->image += std::string(options[i]) + ' ';
  }
  program->image += program->name;
  if (program->source.find("wrong") == std::string::npos) return program->log = "a warning\n", 0;
  for (int i = 1; i <= 30; ++i) program->log += "error " + std::to_string(i) + "\n\n";
  return 6;
}
int nvrtcGetProgramLogSize(_nvrtcProgram* program, size_t* size) {
  return *size = program->log.size() + 1, 0;
}
int nvrtcGetProgramLog(_nvrtcProgram* program, char* log) {
  return std::strcpy(log, program->log.c_str()), 0;
}
int nvrtcGetPTXSize(_nvrtcProgram* program, size_t* size) {
  return *size = program->cubin ? 1 : program->image.size() + 1, 0;
}
int nvrtcGetPTX(_nvrtcProgram* program, char* image) {
  return std::strcpy(image, program->cubin ? "" : program->image.c_str()), 0;
}
#ifndef PTX_ONLY
int nvrtcGetCUBINSize(_nvrtcProgram* program, size_t* size) {
  return *size = program->cubin ? program->image.size() : 0, 0;
}
int nvrtcGetCUBIN(_nvrtcProgram* program, char* image) {
  return std::memcpy(image, program->image.data(), program->image.size()), 0;
}
#endif
#ifndef INCOMPLETE
int nvrtcDestroyProgram(_nvrtcProgram** program) {
  return delete *program, 0;
}
#endif
}
