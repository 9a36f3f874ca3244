#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

// Looks at one descendant again: is its object where its path is, and does the policy there want it persisted?
void look_again(Tables& tables, Inode& inode, WritePolicy policy, std::string_view key) {
  const bool committed = inode.has_home() || !inode.claimed_key().empty() || inode.queued() != format::NOT_QUEUED ||
                         inode.transient();
  if (!committed) return;  // a file being written: its commit decides
  const bool in_place = inode.has_home() && inode.home().key() == key;
  const bool stays_transient = inode.transient() && policy == WritePolicy::kTransient;
  const bool stays_queued = inode.queued() != format::NOT_QUEUED && policy != WritePolicy::kTransient;
  if (stays_transient || stays_queued || (in_place && fully_persisted(inode))) return;
  tables.requeue(inode, policy, format::ORDINARY);
  tables.put_inode(inode);
}

Result<void> look_again_at_name(Tables& tables, Inode& inode, InodeId directory, const std::string& name,
                                std::string_view key, const PathRules& rules) {
  TRY_ASSIGN(Inode record, tables.load_name(inode, directory, name));
  TRY_ASSIGN(const WritePolicy policy, tables.policy_of(record, rules));
  if (is_further_name(record)) {
    // The policy of this name may be its inode's.
    TRY_ASSIGN(const auto first, tables.place_of(inode));
    look_again(tables, inode, policy, first.key);
  }
  look_again(tables, record, policy, key);
  return {};
}

// The directory was listed completely under its old prefix: from here on it reads the one under its path.
Result<void> retarget_lower(Tables& tables, Inode& directory, const Tables::Place& place) {
  if (directory.has_lower() && directory.lower().prefix() == place.key) return {};
  TRY_ASSIGN(const Inode parent, tables.load_inode(InodeId(directory.parent())));
  TRY(tables.attach_lower(directory, parent, tables.now_ns()));
  tables.put_inode(directory);
  return {};
}

}  // namespace

Result<std::vector<InodeId>> Namespace::tree_jobs(size_t jobs_max) {
  const auto range = format::tree_job_range();
  return kv::read_txn(kv_, [&](kv::Txn& txn) -> Result<std::vector<InodeId>> {
    TRY_ASSIGN(const auto page, txn.get_range(range.begin, range.end,
                                              {.rows_max = jobs_max, .isolation = kv::Isolation::kSnapshot}));
    std::vector<InodeId> jobs;
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const InodeId id, format::parse_id_key(row.key));
      jobs.push_back(id);
    }
    return jobs;
  });
}

Result<void> Namespace::add_tree_job(InodeId directory) {
  return run_operation(kv_, clock_,
                       [&](Tables& tables) { return tables.put_tree_job(directory, nullptr); });
}

Result<Namespace::TreeStep> Namespace::tree_step(InodeId job_id, size_t entries_max) {
  const auto rules = this->rules();
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<TreeStep> {
    TRY_ASSIGN(const auto value, tables.txn().get(format::tree_job_key(job_id)));
    if (!value) return TreeStep{.done = true};
    TRY_ASSIGN(auto job, format::decode<format::TreeJob>(*value));
    TreeStep step;
    size_t budget = entries_max;
    while (job.stack_size() > 0 && budget > 0) {
      auto* frame = job.mutable_stack(job.stack_size() - 1);
      const InodeId id(frame->directory());
      TRY_ASSIGN(auto directory, tables.find_inode(id));
      if (!directory || directory->links() == 0) {
        job.mutable_stack()->RemoveLast();
        continue;
      }
      const auto found_place = tables.place_of(*directory);
      if (failed_with(found_place, ErrorCode::kNotFound)) {
        // Below a tree that is being removed. A job of that tree keeps its claims until the removal comes to it.
        if (job.stack_size() == 1) {
          step.detached = true;
          break;
        }
        job.mutable_stack()->RemoveLast();
        continue;
      }
      TRY(found_place);
      const auto& place = *found_place;
      if (frame->resume_after().empty()) {
        if (directory->has_lower() && directory->lower().listed_ns() == 0 &&
            directory->lower().prefix() != place.key) {
          step.needs_listing = id;
          break;
        }
        TRY(retarget_lower(tables, *directory, place));
        look_again(tables, *directory, rules->policy(place.path), place.key);
      }
      const auto range = format::dentry_range(id);
      std::string begin = range.begin;
      if (!frame->resume_after().empty()) begin += frame->resume_after() + '\0';
      TRY_ASSIGN(const auto page, tables.txn().get_range(begin, range.end, {.rows_max = budget}));
      --budget;
      bool descended = false;
      for (const auto& row : page.rows) {
        frame->set_resume_after(row.key.substr(range.begin.size()));
        TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(row.value));
        if (dentry.type() == format::DIRECTORY) {
          job.add_stack()->set_directory(dentry.inode());
          descended = true;
          break;
        }
        TRY_ASSIGN(Inode inode, tables.load_inode(InodeId(dentry.inode())));
        const std::string name(format::dentry_name(row.key));
        if (inode.links() <= 1) {
          look_again(tables, inode, rules->policy(place.path + '/' + name), place.key + name);
        } else {
          TRY(look_again_at_name(tables, inode, id, name, place.key + name, *rules));
        }
        if (budget > 0) --budget;
      }
      if (!descended && !page.more) job.mutable_stack()->RemoveLast();
    }
    if (step.detached) return step;
    if (job.stack_size() == 0) {
      TRY(tables.erase_tree_job(job_id));
      step.done = true;
    } else {
      tables.txn().put(format::tree_job_key(job_id), format::encode(job));
    }
    return step;
  });
}

}  // namespace weir::meta
