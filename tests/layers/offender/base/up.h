#pragma once
#include <vector>
#include "io/up.h"
