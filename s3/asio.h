// s3/asio.h -- Boost.Asio, whose release of Debian 12 (1.74) uses std::exchange without including <utility>.
#pragma once

#include <utility>

#include <boost/asio.hpp>
