// Threads of a block as fibers, which take turns at barriers.

#include "emulator.h"

#include <ucontext.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace emulator {

dim3 thread, block, threads, blocks;

namespace {

constexpr size_t STACK = 256 * 1024;
constexpr int LANES = 32;
constexpr int WORDS = 8;

struct Entry {
    const char *kinds;
    Call call;
};

std::map<std::string, Entry> &kernels() {
    static std::map<std::string, Entry> known;
    return known;
}

/// What some threads wait at.
struct Barrier {
    unsigned expected = 0, waiting = 0, passed = 0;
};

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    /// What it waits at, and how often that was passed before.
    Barrier *at = nullptr;
    unsigned passed = 0;
    bool done = false;
};

struct Warp {
    Barrier barrier;
    uint32_t words[2][LANES][WORDS];
    unsigned turn = 0;
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
Barrier all;
ucontext_t scheduler;
Call running;
const void *const *given;

void enter(unsigned index) {
    thread = {index, 0, 0};
    running(given);
    Fiber &fiber = fibers[index];
    fiber.done = true;
    // Threads that ended no longer count, as on a GPU.
    all.expected--;
    warps[index / LANES].barrier.expected--;
    swapcontext(&fiber.context, &scheduler);
}

void wait(Barrier &barrier) {
    unsigned index = thread.x;
    Fiber &fiber = fibers[index];
    fiber.at = &barrier;
    fiber.passed = barrier.passed;
    barrier.waiting++;
    swapcontext(&fiber.context, &scheduler);
    thread = {index, 0, 0};
}

void open(Barrier &barrier) {
    if (barrier.waiting > 0 && barrier.waiting >= barrier.expected) {
        barrier.waiting = 0;
        barrier.passed++;
    }
}

/// Runs the threads of one block; false if they wait for each other.
bool run_block() {
    unsigned count = threads.x;
    all = Barrier{count, 0, 0};
    for (Warp &warp : warps) {
        warp.barrier = Barrier{LANES, 0, 0};
        warp.turn = 0;
    }
    for (unsigned index = 0; index < count; index++) {
        Fiber &fiber = fibers[index];
        fiber.at = nullptr;
        fiber.done = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, (void (*)())enter, 1, index);
    }
    unsigned left = count;
    while (left > 0) {
        bool moved = false;
        for (unsigned index = 0; index < count; index++) {
            Fiber &fiber = fibers[index];
            if (fiber.done) {
                continue;
            }
            if (fiber.at) {
                open(*fiber.at);
                if (fiber.at->passed == fiber.passed) {
                    continue;
                }
                fiber.at = nullptr;
            }
            moved = true;
            swapcontext(&scheduler, &fiber.context);
            left -= fiber.done;
        }
        if (!moved) {
            return false;
        }
    }
    return true;
}

} // namespace

void block_barrier() { wait(all); }

const uint32_t (*gather(const uint32_t *words, int count))[WORDS] {
    Warp &warp = warps[thread.x / LANES];
    int lane = thread.x % LANES;
    // Two sets in turns: a lane may be at its next exchange while others still read this one.
    unsigned turn = warp.barrier.passed % 2;
    memcpy(warp.words[turn][lane], words, count * sizeof *words);
    wait(warp.barrier);
    return warp.words[turn];
}

uint32_t exchange(uint32_t value, int lane) { return gather(&value, 1)[lane][0]; }

Kernel::Kernel(const char *name, const char *kinds, Call call) { kernels()[name] = {kinds, call}; }

} // namespace emulator

using namespace emulator;

extern "C" const char *emulator_launch(const char *name, const uint32_t *grid, uint32_t count,
                                       const char *kinds, const void *const *arguments,
                                       size_t length) {
    auto found = kernels().find(name);
    if (found == kernels().end()) {
        return "there is none";
    }
    if (std::string(kinds, length) != found->second.kinds) {
        return "it has other parameters";
    }
    if (count == 0 || count % LANES != 0 || count > 1024) {
        return "a block has 32 to 1024 threads, whole warps";
    }
    if (grid[1] > 65535 || grid[2] > 65535) {
        return "a grid has at most 65,535 blocks in y and z";
    }
    while (fibers.size() < count) {
        fibers.emplace_back();
        fibers.back().stack.reset(new char[STACK]);
    }
    warps.resize(count / LANES);
    threads = {count, 1, 1};
    blocks = {grid[0], grid[1], grid[2]};
    running = found->second.call;
    given = arguments;
    for (block.z = 0; block.z < grid[2]; block.z++) {
        for (block.y = 0; block.y < grid[1]; block.y++) {
            for (block.x = 0; block.x < grid[0]; block.x++) {
                if (!run_block()) {
                    return "its threads wait for each other";
                }
            }
        }
    }
    return nullptr;
}
