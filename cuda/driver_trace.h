// Every driver call as a line on stderr, for FRACSTRIDE_DEBUG=5.
#pragma once

#include "driver.h"

namespace fracstride {

// Puts a printing function in front of every entry. Called once, before anybody uses the entries.
void trace_driver(cu::Entries& call);

}  // namespace fracstride
