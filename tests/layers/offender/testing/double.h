#include "kv/kv.h"
