// Definitions of machine.hpp: scheduling, barriers, collectives, shadow memory. One operating-system thread, one block at a time.
#include "machine.hpp"

#include "fiber.hpp"
#include "warp_math.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <new>
#include <set>
#include <stdexcept>

#include <sys/mman.h>

extern "C" char __executable_start;

namespace sampan::emu {
namespace {

constexpr std::size_t kShared = 228 * 1024, kRed = 64 * 1024;
constexpr unsigned kWarp = 32;

/// Who touched a byte last. `serial` numbers blocks over all launches.
struct Touch {
  int thread = -1;  // -1 nobody, -2 several threads
  int warp = -1;    // -2 several warps
  std::uint32_t epoch = 0, clock = 0;
  std::uint64_t serial = 0;
};
enum class State : std::uint8_t { empty, written, in_flight };
struct Cell {
  Touch writer, reader;
  State state = State::empty;
};

struct Region {
  char *begin, *end;  // red zones of kRed bytes lie around it
  std::vector<Cell> cells;
  bool writable;
};
/// By address; whole models have hundreds.
std::map<const char*, std::unique_ptr<Region>>& regions() {
  static std::map<const char*, std::unique_ptr<Region>> all;
  return all;
}
Region& add_region(char* begin, std::size_t bytes, std::size_t cells) {
  auto& r = regions()[begin];
  r = std::make_unique<Region>(Region{begin, begin + bytes, std::vector<Cell>(cells), true});
  return *r;
}
/// The region that p lies in, or in whose red zones.
const Region* region_near(const char* p) {
  const auto above = regions().upper_bound(p);
  if (above != regions().begin())
    if (const Region* r = std::prev(above)->second.get(); p < r->end + kRed) return r;
  return above != regions().end() && p >= above->second->begin - kRed ? above->second.get() : nullptr;
}

enum class Status { ready, at_block, at_warp, done };
struct Copy {
  void* to;
  const void* from;
  int bytes;
  unsigned group;
  const void* site;
};
struct Thread {
  Fiber fiber;
  Status status = Status::ready;
  const void* site = nullptr;
  std::deque<Copy> copies;
  unsigned group = 0;
};
using Operation = void (*)(unsigned warp, void* const (&arguments)[kWarp]);
struct Warp {
  void* arguments[kWarp] = {};
  Operation operation[kWarp] = {};
  const void* site[kWarp] = {};
  unsigned arrived = 0;
  std::uint32_t clock = 0;
};
/// Plain accesses of the lanes of a warp at one place, matched by how often each lane was there.
struct Requests {
  std::uint64_t visits[kWarp] = {}, first = 0;
  struct Group {
    std::uintptr_t address[kWarp] = {};
    unsigned bytes = 0, lanes = 0;
  };
  std::deque<Group> open;
};

struct Machine {
  Dim grid, block, block_at;
  std::size_t shared_bytes = 0;
  const std::function<void()>* work = nullptr;
  Settings settings;
  Report report;
  std::set<std::string> seen;

  Fiber main{Fiber::Main{}};
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  unsigned count = 0, current = 0, live = 0, ended = 0, arrived = 0;
  std::uint32_t epoch = 0;
  std::uint64_t serial = 0, launch_first = 0, random = 1;
  bool running = false, host_memory = false;
  std::map<std::pair<const void*, unsigned>, Requests> requests;

  alignas(1024) char shared[kShared];
  std::vector<Cell> cells = std::vector<Cell>(kShared);

  Thread& me() { return *threads[current]; }
  void find(std::string kind, const void* site, int other, const std::string& detail = {}) {
    char place[64];
    std::snprintf(place, sizeof place, " at 0x%zx", std::size_t(static_cast<const char*>(site) - &__executable_start));
    if (seen.insert(kind + place).second) report.findings.push_back({kind + detail + place, int(current), other});
  }
};
Machine& machine() {
  static Machine m;
  return m;
}

// ---- accesses -------------------------------------------------------------------------------------------------------------------------
bool ordered(const Machine& m, const Touch& t) {
  if (t.thread == -1 || t.serial < m.launch_first) return true;
  if (t.serial != m.serial) return false;
  if (t.thread == int(m.current) || t.epoch < m.epoch) return true;
  const unsigned warp = m.current / kWarp;
  return t.warp == int(warp) && t.clock < m.warps[warp].clock;
}
Touch now(const Machine& m) { return {int(m.current), int(m.current / kWarp), m.epoch, m.warps[m.current / kWarp].clock, m.serial}; }

void touch(Machine& m, Cell& c, bool write, const void* site, const char* where) {
  if (!write) {
    if (c.state == State::in_flight) m.find("in flight: read of the target of an asynchronous copy", site, c.writer.thread);
    if (c.state == State::empty) m.find(std::string("uninitialised: read of ") + where, site, -1);
    if (!ordered(m, c.writer)) m.find(std::string("race: read after write in ") + where, site, c.writer.thread);
    const Touch t = now(m);
    const bool together = c.reader.thread != -1 && c.reader.serial == m.serial && c.reader.epoch == m.epoch && c.reader.thread != t.thread;
    const int warp = c.reader.warp;
    c.reader = t;
    if (together) c.reader.thread = -2, c.reader.warp = warp == t.warp ? warp : -2;
    return;
  }
  if (!ordered(m, c.writer)) m.find(std::string("race: write after write in ") + where, site, c.writer.thread);
  if (!ordered(m, c.reader)) m.find(std::string("race: write after read in ") + where, site, c.reader.thread);
  c.writer = now(m);
  c.state = State::written;
}

void finish_requests(Machine& m, const Requests::Group& g, bool shared) {
  if (shared) {
    const unsigned lanes = g.bytes <= 4 ? 32 : g.bytes == 8 ? 16 : 8;
    for (unsigned first = 0; first < kWarp; first += lanes) {
      std::set<std::uintptr_t> bank[32];
      std::size_t most = 0;
      bool any = false;
      for (unsigned l = first; l < first + lanes; ++l) {
        if (!g.address[l]) continue;
        any = true;
        for (std::uintptr_t word = g.address[l] / 4; word <= (g.address[l] + g.bytes - 1) / 4; ++word) bank[word % 32].insert(word);
      }
      for (const auto& b : bank) most = std::max(most, b.size());
      m.report.count.shared_wavefronts += most;
      m.report.count.shared_ideal += any;
    }
    ++m.report.count.shared_requests;
    return;
  }
  std::set<std::uintptr_t> sectors, bytes;
  for (unsigned l = 0; l < kWarp; ++l)
    for (std::uintptr_t b = 0; g.address[l] && b < g.bytes; ++b) bytes.insert(g.address[l] + b), sectors.insert((g.address[l] + b) / 32);
  ++m.report.count.global_requests;
  m.report.count.global_sectors += sectors.size();
  m.report.count.global_ideal += (bytes.size() + 31) / 32;
}

void count_request(Machine& m, const void* p, std::size_t n, const void* site, bool shared) {
  const unsigned lane = m.current % kWarp;
  Requests& r = m.requests[{site, m.current / kWarp * 2 + (shared ? 1 : 0)}];
  const std::uint64_t visit = r.visits[lane]++;
  if (visit < r.first) return;  // a lane that skipped visits which were closed: not matched
  while (r.first + r.open.size() <= visit) r.open.emplace_back();
  auto& g = r.open[std::size_t(visit - r.first)];
  g.address[lane] = reinterpret_cast<std::uintptr_t>(p);
  g.bytes = unsigned(n);
  if (++g.lanes < kWarp) return;
  while (!r.open.empty() && r.open.front().lanes == kWarp) {
    finish_requests(m, r.open.front(), shared);
    r.open.pop_front();
    ++r.first;
  }
}

/// The cells of [p, p + n), or a finding; null also for memory that is nobody's (host memory may be read).
Cell* cells_of(Machine& m, const void* pointer, std::size_t n, bool write, const void* site, const char*& where) {
  const char* p = static_cast<const char*>(pointer);
  if (p >= m.shared && p < m.shared + kShared) {
    where = "shared memory";
    if (p + n > m.shared + m.shared_bytes) return m.find("outside: beyond the shared memory of the launch", site, -1), nullptr;
    return &m.cells[std::size_t(p - m.shared)];
  }
  if (const Region* r = region_near(p)) {
    where = "global memory";
    if (p < r->begin || p + n > r->end) return m.find("outside: beyond a buffer", site, -1), nullptr;
    if (write && !r->writable) return m.find("outside: write to a read-only buffer", site, -1), nullptr;
    return r->cells.empty() ? nullptr : const_cast<Cell*>(&r->cells[std::size_t(p - r->begin)]);
  }
  if (write && !m.host_memory) m.find("outside: write to memory that is no buffer", site, -1);
  return nullptr;
}

void check(Machine& m, const void* p, std::size_t n, bool write, const void* site) {
  const char* where = "";
  if (Cell* c = cells_of(m, p, n, write, site, where))
    for (std::size_t i = 0; i < n; ++i) touch(m, c[i], write, site, where);
}

// ---- scheduling -----------------------------------------------------------------------------------------------------------------------
void go(Machine& m, Fiber& to) {
  Fiber& from = m.me().fiber;
  to.switch_from(from);
}

/// Somebody else runs; returns when this thread is chosen again.
void yield(Machine& m) {
  const unsigned n = m.count;
  unsigned next = n;
  if (m.settings.order == Order::random) {
    m.random = m.random * 6364136223846793005u + 1442695040888963407u;
    const unsigned skip = unsigned(m.random >> 33) % n;
    for (unsigned i = 0; i < n && next == n; ++i)
      if (m.threads[(skip + i) % n]->status == Status::ready) next = (skip + i) % n;
  } else {
    const unsigned step = m.settings.order == Order::forward ? 1 : n - 1;
    unsigned t = m.current;
    for (unsigned i = 0; i < n && next == n; ++i) {
      t = (t + step) % n;
      if (m.threads[t]->status == Status::ready) next = t;
    }
  }
  if (next == n) {  // all done, or nobody can go on
    if (m.live) {
      unsigned warps = 0;
      for (unsigned t = 0; t < n; ++t) warps += m.threads[t]->status == Status::at_warp;
      m.find(warps ? "divergence: a collective that not every lane of its warp calls" : "deadlock", m.me().site, -1);
    }
    return go(m, m.main);
  }
  if (next == m.current) return;
  Fiber& from = m.me().fiber;
  m.current = next;
  m.me().fiber.switch_from(from);
}

void release_block(Machine& m) {
  if (m.arrived == 0 || m.arrived < m.live) return;
  const void* site = nullptr;
  for (unsigned t = 0; t < m.count; ++t)
    if (m.threads[t]->status == Status::at_block) {
      if (site && m.threads[t]->site != site) m.find("divergence: one barrier from two places", m.threads[t]->site, int(t));
      site = m.threads[t]->site;
      m.threads[t]->status = Status::ready;
    }
  if (m.ended) m.find("divergence: a barrier after threads have ended", site, -1);
  m.arrived = 0;
  ++m.epoch;
  ++m.report.count.block_syncs;
}

void entry() {
  Machine& m = machine();
  (*m.work)();
  Thread& t = m.me();
  if (!t.copies.empty()) m.find("in flight: a thread ended before its asynchronous copies were waited for", t.copies.front().site, -1);
  t.status = Status::done;
  --m.live;
  ++m.ended;
  release_block(m);
  yield(m);
  std::abort();  // an ended thread was chosen
}

void collective(Machine& m, void* argument, Operation operation, const void* site) {
  Warp& w = m.warps[m.current / kWarp];
  const unsigned lane = m.current % kWarp;
  w.arguments[lane] = argument, w.operation[lane] = operation, w.site[lane] = site;
  m.me().site = site;
  if (++w.arrived < kWarp) {
    m.me().status = Status::at_warp;
    return yield(m);
  }
  for (unsigned l = 0; l < kWarp; ++l)
    if (w.operation[l] != operation || w.site[l] != site) m.find("divergence: lanes of a warp in different collectives", site, int(m.current / kWarp * kWarp + l));
  w.arrived = 0;
  ++w.clock;
  ++m.report.count.collectives;
  operation(m.current / kWarp, w.arguments);
  for (unsigned l = 0; l < kWarp; ++l) {
    Thread& t = *m.threads[m.current / kWarp * kWarp + l];
    if (t.status == Status::at_warp) t.status = Status::ready;
  }
}

/// True if the site is the one to be ignored.
bool ignored(Machine& m, const void* site) {
  const auto at = std::find(m.report.sites.begin(), m.report.sites.end(), site);
  const auto index = at - m.report.sites.begin();
  if (at == m.report.sites.end()) m.report.sites.push_back(site);
  return index == m.settings.ignore_site;
}

}  // namespace

// ---- memory ---------------------------------------------------------------------------------------------------------------------------
Memory::Memory(std::size_t bytes) : bytes_(bytes) {
  const std::size_t whole = (bytes + 4095) / 4096 * 4096 + 2 * kRed;
  char* base = static_cast<char*>(mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (base == MAP_FAILED) throw std::bad_alloc();
  std::memset(base, 0xff, whole);  // NaN in every float format
  data_ = base + kRed;
  add_region(base + kRed, bytes, bytes);
}
Memory::Memory(const void* data, std::size_t bytes) : Memory(bytes) {
  std::memcpy(data_, data, bytes);
  Region& r = *regions().at(static_cast<const char*>(data_));
  r.writable = false;
  for (Cell& c : r.cells) c.state = State::written;
}
Memory::~Memory() {
  regions().erase(static_cast<const char*>(data_));
  munmap(static_cast<char*>(data_) - kRed, (bytes_ + 4095) / 4096 * 4096 + 2 * kRed);
}
void use_host_memory(bool on) { machine().host_memory = on; }
void add_plain_memory(void* begin, std::size_t bytes) { add_region(static_cast<char*>(begin), bytes, 0); }
void remove_plain_memory(void* begin) { regions().erase(static_cast<const char*>(begin)); }
bool Memory::fully_written() const {
  const Region& r = *regions().at(static_cast<const char*>(data_));
  return std::all_of(r.cells.begin(), r.cells.end(), [](const Cell& c) { return c.state == State::written; });
}
void Memory::make_writable() { regions().at(static_cast<const char*>(data_))->writable = true; }

// ---- launch ---------------------------------------------------------------------------------------------------------------------------
Report launch(Dim grid, Dim block, std::size_t shared, const std::function<void()>& thread, const Settings& settings) {
  Machine& m = machine();
  if (block.count() == 0 || block.count() % kWarp || block.count() > 1024 || grid.count() == 0 || shared > kShared) throw std::invalid_argument("emu::launch: impossible grid, block or shared memory");
  m.grid = grid, m.block = block, m.shared_bytes = shared, m.work = &thread, m.settings = settings;
  m.report = {}, m.seen.clear(), m.random = 12345;
  m.count = block.count();
  while (m.threads.size() < m.count) m.threads.push_back(std::make_unique<Thread>());
  m.launch_first = m.serial + 1;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        m.block_at = {x, y, z};
        ++m.serial;
        m.warps.assign(m.count / kWarp, Warp{});
        m.live = m.count, m.ended = m.arrived = 0, m.epoch = 1;
        std::memset(m.shared, 0xff, shared);
        std::fill_n(m.cells.begin(), shared, Cell{});
        for (unsigned t = 0; t < m.count; ++t) {
          Thread& th = *m.threads[t];
          th.status = Status::ready, th.site = nullptr, th.group = 0;
          th.copies.clear();
          th.fiber.start(entry);
        }
        m.current = settings.order == Order::backward ? m.count - 1 : 0;
        m.running = true;
        m.me().fiber.switch_from(m.main);
        m.running = false;
        for (auto& [key, r] : m.requests)
          for (const auto& g : r.open) finish_requests(m, g, key.second % 2 != 0);
        m.requests.clear();
        if (m.live) return m.report;  // deadlock: later blocks would only repeat it
      }
  return m.report;
}

// ---- what kernels call ----------------------------------------------------------------------------------------------------------------
Dim thread_index() {
  const Machine& m = machine();
  return {m.current % m.block.x, m.current / m.block.x % m.block.y, m.current / (m.block.x * m.block.y)};
}
Dim block_index() { return machine().block_at; }
Dim block_extent() { return machine().block; }
Dim grid_extent() { return machine().grid; }
void* shared_memory() { return machine().shared; }

void block_sync(const void* site) {
  Machine& m = machine();
  if (ignored(m, site)) return;
  m.me().status = Status::at_block;
  m.me().site = site;
  ++m.arrived;
  release_block(m);
  if (m.me().status == Status::at_block) yield(m);
}

void warp_sync(const void* site) {
  Machine& m = machine();
  if (!ignored(m, site)) collective(m, nullptr, [](unsigned, void* const (&)[kWarp]) {}, site);
}

namespace {
struct Shuffle {
  float in, out;
  int with;
};
struct MatrixLoad {
  std::uint32_t* r;
  const void* row;
  bool transposed;
  const void* site;
};
struct Mma {
  float* d;
  const std::uint32_t* a;
  std::uint32_t b[2];
  const float* c;
  Pair type;
};
}  // namespace

float shuffle_xor(float v, int mask, const void* site) {
  Shuffle s{v, 0, mask};
  collective(machine(), &s, [](unsigned, void* const (&all)[kWarp]) {
    for (unsigned l = 0; l < kWarp; ++l) static_cast<Shuffle*>(all[l])->out = static_cast<Shuffle*>(all[l ^ unsigned(static_cast<Shuffle*>(all[l])->with)])->in;
  }, site);
  return s.out;
}
float shuffle(float v, int lane, const void* site) {
  Shuffle s{v, 0, lane};
  collective(machine(), &s, [](unsigned, void* const (&all)[kWarp]) {
    for (unsigned l = 0; l < kWarp; ++l) static_cast<Shuffle*>(all[l])->out = static_cast<Shuffle*>(all[unsigned(static_cast<Shuffle*>(all[l])->with) % kWarp])->in;
  }, site);
  return s.out;
}

void load_matrix_x4(std::uint32_t (&r)[4], const void* row, bool transposed, const void* site) {
  MatrixLoad a{r, row, transposed, site};
  collective(machine(), &a, [](unsigned warp, void* const (&all)[kWarp]) {
    Machine& m = machine();
    const unsigned caller = m.current;
    const char* rows[kWarp];
    for (unsigned l = 0; l < kWarp; ++l) {
      const auto& x = *static_cast<MatrixLoad*>(all[l]);
      rows[l] = static_cast<const char*>(x.row);
      m.current = warp * kWarp + l;
      if (reinterpret_cast<std::uintptr_t>(x.row) % 16) m.find("misaligned: row of a matrix load", x.site, -1);
      if (rows[l] < m.shared || rows[l] >= m.shared + kShared) {
        m.find("outside: a matrix load reads shared memory only", x.site, -1);
        rows[l] = m.shared;
      } else {
        check(m, x.row, 16, false, x.site);
      }
    }
    m.current = caller;
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
      unsigned bank[32] = {}, most = 0;
      for (unsigned i = 0; i < 8; ++i)
        for (unsigned w = 0; w < 4; ++w) most = std::max(most, ++bank[(std::size_t(rows[8 * matrix + i] - m.shared) / 4 + w) % 32]);
      ++m.report.count.matrix_loads;
      m.report.count.matrix_wavefronts += most;
      for (unsigned l = 0; l < kWarp; ++l) {
        const auto& x = *static_cast<MatrixLoad*>(all[l]);
        std::uint16_t v[2];
        for (unsigned e = 0; e < 2; ++e) {
          const unsigned line = x.transposed ? 2 * (l % 4) + e : l / 4, column = x.transposed ? l / 4 : 2 * (l % 4) + e;
          std::memcpy(&v[e], rows[8 * matrix + line] + 2 * column, 2);
        }
        x.r[matrix] = v[0] | std::uint32_t(v[1]) << 16;
      }
    }
  }, site);
}

void mma_16816(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, const float (&c)[4], Pair type, const void* site) {
  Mma own{d, a, {b0, b1}, c, type};
  collective(machine(), &own, [](unsigned, void* const (&all)[kWarp]) {
    Machine& m = machine();
    ++m.report.count.mma;
    m.report.count.mma_flop += 2 * 16 * 8 * 16;
    float A[16][16], B[16][8], C[16][8];
    for (unsigned l = 0; l < kWarp; ++l) {
      const auto& x = *static_cast<Mma*>(all[l]);
      const unsigned g = l / 4, t = l % 4;
      for (unsigned i = 0; i < 8; ++i) A[g + 8 * (i >> 1 & 1)][2 * t + (i & 1) + 8 * (i >> 2)] = half_value(x.a[i / 2] >> 16 * (i & 1), x.type);
      for (unsigned i = 0; i < 4; ++i) B[2 * t + (i & 1) + 8 * (i >> 1)][g] = half_value(x.b[i / 2] >> 16 * (i & 1), x.type);
      for (unsigned i = 0; i < 4; ++i) C[g + 8 * (i >> 1)][2 * t + (i & 1)] = x.c[i];
    }
    for (unsigned i = 0; i < 16; ++i)
      for (unsigned j = 0; j < 8; ++j) {
        double product[16];
        for (unsigned k = 0; k < 16; ++k) product[k] = double(A[i][k]) * double(B[k][j]);
        C[i][j] = m.settings.rounding == MmaRounding::exact ? sum_exact(product, C[i][j]) : sum_like_hardware(product, C[i][j]);
      }
    for (unsigned l = 0; l < kWarp; ++l) {
      const auto& x = *static_cast<Mma*>(all[l]);
      for (unsigned i = 0; i < 4; ++i) x.d[i] = C[l / 4 + 8 * (i >> 1)][2 * (l % 4) + (i & 1)];
    }
  }, site);
}

void copy_async_16(void* to, const void* from, int bytes, const void* site) {
  Machine& m = machine();
  if (reinterpret_cast<std::uintptr_t>(to) % 16 || (bytes && reinterpret_cast<std::uintptr_t>(from) % 16)) m.find("misaligned: asynchronous copy", site, -1);
  const char* where = "";
  Cell* c = cells_of(m, to, 16, true, site, where);
  if (!c) return;
  for (int i = 0; i < 16; ++i) touch(m, c[i], true, site, where), c[i].state = State::in_flight;
  std::memset(to, 0xff, 16);
  m.report.count.async_bytes += unsigned(bytes);
  m.me().copies.push_back({to, from, bytes, m.me().group, site});
}
void copy_commit() { ++machine().me().group; }
void copy_wait(int groups, const void* site) {
  Machine& m = machine();
  if (ignored(m, site)) return;
  Thread& t = m.me();
  while (!t.copies.empty() && t.copies.front().group + unsigned(groups) < t.group) {
    const Copy c = t.copies.front();
    t.copies.pop_front();
    if (c.bytes) check(m, c.from, std::size_t(c.bytes), false, c.site);
    std::memset(c.to, 0, 16);
    std::memcpy(c.to, c.from, std::size_t(c.bytes));
    Cell* cell = &m.cells[std::size_t(static_cast<char*>(c.to) - m.shared)];
    for (int i = 0; i < 16; ++i) cell[i].writer = now(m), cell[i].state = State::written;
  }
}

void atomic_add(float* p, float v, const void* site) {
  Machine& m = machine();
  const char* where = "";
  Cell* c = cells_of(m, p, 4, true, site, where);
  if (!c) return;
  if (c->state != State::written) m.find(std::string("uninitialised: atomic on ") + where, site, -1);
  *p += v;
}

void access(const void* p, std::size_t n, bool write, const void* site) {
  Machine& m = machine();
  if (!m.running || m.me().fiber.on_stack(p)) return;
  const char* where = "";
  Cell* c = cells_of(m, p, n, write, site, where);
  if (!c) return;
  for (std::size_t i = 0; i < n; ++i) touch(m, c[i], write, site, where);
  count_request(m, p, n, site, static_cast<const char*>(p) >= m.shared && static_cast<const char*>(p) < m.shared + kShared);
}

}  // namespace sampan::emu
