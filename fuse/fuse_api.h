// fuse/fuse_api.h -- libfuse's low-level interface, in one version for the whole folder.
#pragma once

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 18)
#endif
#include <fuse_lowlevel.h>
