// Shared libraries; see library.h.

#include "library.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace fracstride {

#ifdef _WIN32
void* open_library(const char* name) {
  return reinterpret_cast<void*>(LoadLibraryA(name));
}
void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}
std::string library_problem() {
  return "Windows error " + std::to_string(GetLastError());
}
#else
void* open_library(const char* name) {
  return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}
void* find_symbol(void* library, const char* name) {
  return dlsym(library, name);
}
std::string library_problem() {
  const char* text = dlerror();
  return text == nullptr ? "no reason" : text;
}
#endif

}  // namespace fracstride
