// Shared libraries; see library.h.

#include "library.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace fracstride {

#ifdef _WIN32
void* open_library(const char* name, bool) {
  return reinterpret_cast<void*>(LoadLibraryA(name));
}
void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}
std::string library_problem() {
  return "Windows error " + std::to_string(GetLastError());
}
std::string file_of_symbol(const void*, const std::string& otherwise) {
  return otherwise;
}
#else
void* open_library(const char* name, bool shared) {
  return dlopen(name, RTLD_NOW | (shared ? RTLD_GLOBAL : RTLD_LOCAL));
}
void* find_symbol(void* library, const char* name) {
  return dlsym(library, name);
}
std::string library_problem() {
  const char* text = dlerror();
  return text == nullptr ? "no reason" : text;
}
std::string file_of_symbol(const void* symbol, const std::string& otherwise) {
  Dl_info info;
  const bool known = dladdr(symbol, &info) != 0 && info.dli_fname != nullptr && info.dli_fname[0] != '\0';
  return known ? info.dli_fname : otherwise;
}
#endif

}  // namespace fracstride
