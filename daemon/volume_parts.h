// daemon/volume_parts.h -- what the properties say about the parts that a volume is made of.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/properties.h"
#include "kv/rocks_kv.h"
#include "meta/namespace.h"
#include "pages/page_store.h"
#include "volume/volume.h"

namespace weir::daemon {

kv::RocksKv::Options kv_options(const Properties& properties);
meta::NamespaceOptions namespace_options(const Properties& properties);
pages::PageStoreOptions page_store_options(const Properties& properties, const std::string& volume_id);
volume::VolumeOptions volume_options(const Properties& properties);

// An integer property, at most UINT32_MAX.
uint32_t count_of(const Properties& properties, std::string_view name);

}  // namespace weir::daemon
