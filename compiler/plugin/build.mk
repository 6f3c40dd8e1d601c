# SPDX-License-Identifier: GPL-2.0-only OR MIT
# The plugin for LLVM's opt.

PLUGIN_SRC := $(wildcard compiler/plugin/*.cpp)
PLUGIN_OBJ := $(PLUGIN_SRC:%.cpp=build/obj/%.o)
PLUGIN_CXXFLAGS := -std=c++17 -O1 -fPIC -fno-exceptions -fno-rtti -fvisibility=hidden \
	-fvisibility-inlines-hidden -Wall -Wextra -Werror -Wno-unused-parameter -Wno-deprecated-declarations -isystem /usr/lib/llvm-19/include \
	-D_GNU_SOURCE -D__STDC_CONSTANT_MACROS -D__STDC_FORMAT_MACROS -D__STDC_LIMIT_MACROS

build/obj/compiler/plugin/%.o: compiler/plugin/%.cpp compiler/plugin/popcorn.h compiler/plugin/build.mk
	@mkdir -p $(@D)
	clang++-19 $(PLUGIN_CXXFLAGS) -c -o $@ $<

build/compiler/popcorn.so: $(PLUGIN_OBJ)
	@mkdir -p $(@D)
	clang++-19 -shared -Wl,-z,nodelete -o $@ $^
