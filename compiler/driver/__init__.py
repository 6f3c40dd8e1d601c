# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What popcorn-cc and popcorn-check are made of; docs/compiler.md has the picture."""
