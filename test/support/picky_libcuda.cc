// The stand-in of fake_libcuda.cc with a taste in images: it takes any text that begins with `fake <format>` and holds
// the kernel that is asked for, and refuses the formats of FAKE_REFUSES as a driver does. For tests of which image a
// device gets; images come from test/support/fake_nvcc.ts.
#define WITHOUT_PROC_ADDRESS
#define cuModuleLoadDataEx other_module_load
#define cuModuleGetFunction other_get_function
#include "fake_libcuda.cc"
#undef cuModuleLoadDataEx
#undef cuModuleGetFunction

extern "C" {
Result cuModuleLoadDataEx(Module* module, const void* image, unsigned, JitOption*, void**) {
  const std::string text(static_cast<const char*>(image));
  const char* refuses = std::getenv("FAKE_REFUSES");
  for (const char* format : {"cubin", "ptx"}) {
    if (text.rfind(std::string("fake ") + format + "\n", 0) != 0) continue;
    if (refuses != nullptr && std::strstr(refuses, format) != nullptr)
      return format[0] == 'c' ? Result{209} : Result{222};
    return *module = reinterpret_cast<Module>(new std::string(text)), kSuccess;
  }
  return kInvalidImage;
}
Result cuModuleGetFunction(Function* function, Module module, const char* name) {
  const bool has = reinterpret_cast<std::string*>(module)->find(name) != std::string::npos;
  return *function = token<Function>(1), has ? kSuccess : kNotFound;
}
}
