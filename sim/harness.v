// The hand-written parts of the simulation bench: what drives, stalls and watches the streams of a design under test.
// sim/harness.py instantiates them around the design, whose own Verilog stays as it is handed over.
//
// `reset` resets the design and starts everything here afresh: files are opened again, counters return to 0.

// Decides cycle by cycle whether a side is stalled, from a seeded generator (Marsaglia's xorshift32).
// With probability chance / 65536 a gap begins: half of them last one cycle, the others 1 to 16 cycles.
// With probability burst_chance / 2^32 a burst begins: a random number, at most burst_mask, of cycles.
module popstream_stall (
    input             clk,
    input             reset,
    input      [31:0] seed,          // not 0
    input      [15:0] chance,
    input      [31:0] burst_chance,
    input      [31:0] burst_mask,
    output            stall
);
    reg  [31:0] random;
    reg  [31:0] left;
    wire [31:0] step_1 = random ^ (random << 13);
    wire [31:0] step_2 = step_1 ^ (step_1 >> 17);

    assign stall = left != 0;

    always @(posedge clk) begin
        random <= step_2 ^ (step_2 << 5);
        if (reset) begin
            random <= seed;
            left   <= 0;
        end else if (left != 0)
            left <= left - 1;
        else if (random[15:0] < chance)
            left <= random[16] ? 1 : random[20:17] + 1;
        else if (random < burst_chance)
            left <= (step_2 ^ (step_2 << 5)) & burst_mask;
    end
endmodule

// Offers the beats of a file, at most `limit` of them, and keeps each until its transfer. At its end a file begins again.
// The file holds one big-endian number of BYTES bytes for a beat. While nothing is offered the payload is garbage.
module popstream_driver #(
    parameter WIDTH = 1,
    parameter BYTES = 1,
    parameter FILE  = "input.beats"
) (
    input                  clk,
    input                  reset,
    input                  stall,
    input           [31:0] limit,
    output reg             valid,
    input                  ready,
    output reg [WIDTH-1:0] payload
);
    reg [8*BYTES-1:0] word;
    reg        [31:0] offered;
    reg               restarted = 0;
    integer           file = 0;
    integer           bytes;

    always @(posedge clk) begin
        restarted <= reset;
        if (reset) begin
            if (!restarted) begin
                if (file != 0) $fclose(file);
                file = $fopen(FILE, "rb");
            end
            valid   <= 0;
            payload <= 0;
            offered <= 0;
        end else if (!valid || ready) begin
            if (!stall && offered != limit) begin
                bytes = $fread(word, file);
                if (bytes != BYTES) begin
                    bytes = $rewind(file);
                    bytes = $fread(word, file);
                end
                valid   <= bytes == BYTES;
                payload <= word[WIDTH-1:0];
                offered <= offered + 1;
            end else begin
                valid   <= 0;
                payload <= ~payload;
            end
        end
    end
endmodule

// Writes every beat that is transferred to a file, as 32-bit little-endian words: the cycle, then the payload, lowest
// word first. Checks that an offered beat is held until its transfer: `withdrawn` and `changed` stay high from
// the first violation on, which `broken_beat` dates.
module popstream_monitor #(
    parameter WIDTH = 1,
    parameter WORDS = 1,
    parameter FILE  = "0.beats"
) (
    input              clk,
    input              reset,
    input              flush,
    input       [31:0] cycle,
    input              valid,
    input              ready,
    input  [WIDTH-1:0] payload,
    output reg  [31:0] beats,
    output reg         withdrawn,
    output reg         changed,
    output reg  [31:0] broken_beat
);
    wire [32*WORDS-1:0] word = payload;
    reg     [WIDTH-1:0] held;
    reg                 waiting;
    reg                 restarted = 0;
    integer             file = 0;

    always @(posedge clk) begin
        restarted <= reset;
        if (reset) begin
            if (!restarted) begin
                if (file != 0) $fclose(file);
                file = $fopen(FILE, "wb");
            end
            beats       <= 0;
            withdrawn   <= 0;
            changed     <= 0;
            broken_beat <= 0;
            waiting     <= 0;
        end else begin
            if (valid && ready) begin
                $fwrite(file, "%u", {word, cycle});
                beats <= beats + 1;
            end
            waiting <= valid && !ready;
            held    <= payload;
            if (waiting && !withdrawn && !changed && (!valid || payload != held)) begin
                withdrawn   <= !valid;
                changed     <= valid;
                broken_beat <= beats;
            end
        end
        if (flush) $fflush(file);
    end
endmodule
