// Runs test_faults.py's board: reads how many bytes are wanted, how many cycles may pass, and the
// bytes to send; answers with the cycles that have passed and the bytes that have come.

#include <cstdint>
#include <cstdio>
#include <vector>

#include "Vboard.h"

static std::vector<uint8_t> bytes(uint32_t count) {
    std::vector<uint8_t> data(count);
    if (fread(data.data(), 1, count, stdin) != count) exit(0);
    return data;
}

int main() {
    Vboard board;
    board.rst = 0;
    board.o_ready = 1;
    uint32_t request[3];
    while (fread(request, sizeof(request), 1, stdin) == 1) {
        auto [wanted, cycles, count] = request;
        std::vector<uint8_t> sent = bytes(count), come;
        uint32_t passed = 0, next = 0;
        while (passed < cycles && (come.size() < wanted || next < sent.size())) {
            board.i_valid = next < sent.size();
            if (board.i_valid) board.i_byte = sent[next];
            board.clk = 0;
            board.eval();
            if (board.i_valid && board.i_ready) next++;
            if (board.o_valid) come.push_back(board.o_byte);
            board.clk = 1;
            board.eval();
            passed++;
        }
        uint32_t answer[2] = {passed, static_cast<uint32_t>(come.size())};
        fwrite(answer, sizeof(answer), 1, stdout);
        fwrite(come.data(), 1, come.size(), stdout);
        fflush(stdout);
    }
}
