// Shared libraries that are opened at run time.
#pragma once

#include <string>

namespace fracstride {

// Null when it cannot be opened; `library_problem` then says why. `shared`: for libraries that open parts of their own
// by name, which look for each other's symbols.
void* open_library(const char* name, bool shared = false);
void* find_symbol(void* library, const char* name);
std::string library_problem();
// The file that holds a symbol, or `otherwise` when the system does not say.
std::string file_of_symbol(const void* symbol, const std::string& otherwise);

}  // namespace fracstride
