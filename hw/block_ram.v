// Block RAMs as they behave: what yosys has no model of, for the simulation of its netlists.
//
// One memory of nine-bit bytes with two ports serves both families; a port of 9, 18, 36 or 72 bits
// takes whole bytes, one of 1, 2 or 4 bits a part of a byte's lower eight. Two ports that meet at
// one address in one cycle read what was there before, where the devices promise nothing.
//
// Sources: Xilinx UG473 (7 Series FPGAs Memory Resources), Lattice FPGA-TN-02204 (ECP5 Memory Usage
// Guide); where a parameter's bits sit as yosys's mapping to these cells has it.

// Sixteen parameters that hold initial contents, and the same, the last one first.
`define INITS(p, bits) parameter [bits-1:0] \
    p``0 = 0, p``1 = 0, p``2 = 0, p``3 = 0, p``4 = 0, p``5 = 0, p``6 = 0, p``7 = 0, \
    p``8 = 0, p``9 = 0, p``A = 0, p``B = 0, p``C = 0, p``D = 0, p``E = 0, p``F = 0
`define ALL(p) p``F, p``E, p``D, p``C, p``B, p``A, p``9, p``8, \
    p``7, p``6, p``5, p``4, p``3, p``2, p``1, p``0

// Data travels as bytes of nine bits, the first in the lowest; address bit 0 counts single bits.
module popstream_block_ram #(
    parameter BYTES = 4096,
    parameter READ_A = 0, WRITE_A = 0, REGISTER_A = 0,
    parameter READ_B = 0, WRITE_B = 0, REGISTER_B = 0,
    parameter NEW_A = 0, OLD_A = 0, NEW_B = 0, OLD_B = 0, // what a writing port reads; else nothing
    parameter RESET_NEEDS_ENABLE = 1,
    parameter [71:0] INIT_A = 0, RESET_A = 0, INIT_B = 0, RESET_B = 0
) (
    input clk_a, en_a, reset_a, register_en_a, register_reset_a,
    input clk_b, en_b, reset_b, register_en_b, register_reset_b,
    input [7:0] we_a, we_b,
    input [14:0] address_a, address_b, // of the port's own data where it reads and writes
    input [71:0] i_a, i_b,
    output [71:0] o_a, o_b
);
    reg [8:0] bytes [0:BYTES-1];
    reg [71:0] read_a = INIT_A, read_b = INIT_B, register_a = INIT_A, register_b = INIT_B;

    function automatic [11:0] first(input [14:0] address, input integer width);
        first = (address >> 3) & (width < 9 ? ~12'd0 : ~(width / 9 - 12'd1));
    endfunction

    function automatic [2:0] part(input [14:0] address, input integer width);
        part = address & ~(width - 1);
    endfunction

    function automatic [71:0] fetch(input [14:0] address, input integer width);
        fetch = 0;
        if (width < 9)
            fetch[7:0] = bytes[first(address, width)][7:0] >> part(address, width)
                & ((1 << width) - 1);
        else
            for (integer n = 0; n < 8; n = n + 1)
                if (9 * n < width) fetch[9 * n +: 9] = bytes[first(address, width) + n];
    endfunction

    // What a port reads that writes at the same time: for ports as wide to read as to write.
    function automatic [71:0] overlaid(
        input [71:0] old, data, input [7:0] we, input integer width, input transparent);
        overlaid = old;
        if (transparent)
            for (integer n = 0; n < 8; n = n + 1)
                if (we[n] && 9 * n < width)
                    for (integer b = 9 * n; b < 9 * n + 9; b = b + 1)
                        if (b < width) overlaid[b] = data[b];
    endfunction

// `q` is the latch of what is read, `r` the register behind it.
`define PORT(clk, en, reset, en_r, reset_r, we, address, data, q, r, READ, WRITE, NEW, OLD, RESET) \
    always @(posedge clk) begin \
        if (reset && (en || !RESET_NEEDS_ENABLE)) q <= RESET; \
        else if (READ != 0 && en && (WRITE == 0 || !(|we) || NEW || OLD)) \
            q <= overlaid(fetch(address, READ), data, WRITE == 0 ? 8'd0 : we, READ, NEW); \
        if (reset_r) r <= RESET; \
        else if (en_r) r <= q; \
        if (WRITE != 0 && en) begin \
            if (WRITE < 9) begin \
                for (integer b = 0; b < 8; b = b + 1) \
                    if (we[0] && b < WRITE) \
                        bytes[first(address, WRITE)][part(address, WRITE) + b] <= data[b]; \
            end else for (integer n = 0; n < 8; n = n + 1) \
                if (we[n] && 9 * n < WRITE) bytes[first(address, WRITE) + n] <= data[9 * n +: 9]; \
        end \
    end

    `PORT(clk_a, en_a, reset_a, register_en_a, register_reset_a, we_a, address_a, i_a,
        read_a, register_a, READ_A, WRITE_A, NEW_A, OLD_A, RESET_A)
    `PORT(clk_b, en_b, reset_b, register_en_b, register_reset_b, we_b, address_b, i_b,
        read_b, register_b, READ_B, WRITE_B, NEW_B, OLD_B, RESET_B)

    assign o_a = REGISTER_A ? register_a : read_a;
    assign o_b = REGISTER_B ? register_b : read_b;

    initial begin
        if (WRITE_A != 0 && READ_A != 0 && WRITE_A != READ_A && NEW_A
                || WRITE_B != 0 && READ_B != 0 && WRITE_B != READ_B && NEW_B)
            $fatal(1, "block RAM: no model of a port that shows what it writes at another width");
    end
endmodule

// 7-series, both sizes. In simple dual port mode A reads, B writes, and the widest use both halves.
module popstream_ramb #(
    parameter HALF = 16, // data bits of one port
    parameter RAM_MODE = "TDP", WRITE_MODE_A = "WRITE_FIRST", WRITE_MODE_B = "WRITE_FIRST",
    parameter READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0,
    parameter DOA_REG = 0, DOB_REG = 0,
    parameter [2*HALF+HALF/4-1:0] SRVAL = 0, INIT = 0 // B above A; parity above data in each
) (
    input clk_a, en_a, reset_a, register_en_a, register_reset_a,
    input clk_b, en_b, reset_b, register_en_b, register_reset_b,
    input [HALF/8-1:0] we_a,
    input [HALF/4-1:0] we_b,
    input [14:0] address_a, address_b,
    input [HALF-1:0] di_a, di_b,
    input [HALF/8-1:0] dip_a, dip_b,
    output [HALF-1:0] do_a, do_b,
    output [HALF/8-1:0] dop_a, dop_b
);
    localparam SDP = RAM_MODE == "SDP", WHOLE = 9 * HALF / 8;

    // Bytes of nine bits from data and parity, and back.
    function automatic [71:0] joined(input [63:0] data, input [7:0] parity);
        for (integer n = 0; n < 8; n = n + 1) joined[9 * n +: 9] = {parity[n], data[8 * n +: 8]};
    endfunction
    function automatic [63:0] data(input [71:0] bytes);
        for (integer n = 0; n < 8; n = n + 1) data[8 * n +: 8] = bytes[9 * n +: 8];
    endfunction
    function automatic [7:0] parity(input [71:0] bytes);
        for (integer n = 0; n < 8; n = n + 1) parity[n] = bytes[9 * n + 8];
    endfunction
    // A port's value parameter: parity follows on as many data bits as the port has.
    function automatic [71:0] value(input [WHOLE-1:0] bits, input integer width);
        value = width < 9 ? joined(bits, 0)
            : joined(bits & ~({WHOLE{1'b1}} << width / 9 * 8), bits >> width / 9 * 8);
    endfunction
    function automatic [71:0] both(input [2*WHOLE-1:0] bits, input integer width);
        both = width > WHOLE
            ? joined({bits[WHOLE +: HALF], bits[0 +: HALF]},
                     {bits[WHOLE + HALF +: HALF/8], bits[HALF +: HALF/8]})
            : value(bits, width);
    endfunction

    wire [71:0] o_a, o_b;
    wire wide_write = SDP && WRITE_WIDTH_B > WHOLE;
    popstream_block_ram #(
        .BYTES(128 * HALF), .READ_A(READ_WIDTH_A), .READ_B(READ_WIDTH_B),
        .WRITE_A(SDP ? 0 : WRITE_WIDTH_A), .WRITE_B(WRITE_WIDTH_B),
        .REGISTER_A(DOA_REG), .REGISTER_B(DOB_REG),
        .NEW_A(WRITE_MODE_A == "WRITE_FIRST"), .OLD_A(WRITE_MODE_A == "READ_FIRST"),
        .NEW_B(WRITE_MODE_B == "WRITE_FIRST"), .OLD_B(WRITE_MODE_B == "READ_FIRST"),
        .INIT_A(both(INIT, READ_WIDTH_A)), .RESET_A(both(SRVAL, READ_WIDTH_A)),
        .INIT_B(value(INIT >> WHOLE, READ_WIDTH_B)), .RESET_B(value(SRVAL >> WHOLE, READ_WIDTH_B))
    ) ram (
        .clk_a(clk_a), .en_a(en_a), .reset_a(reset_a), .we_a({8'd0, we_a}), .address_a(address_a),
        .register_en_a(register_en_a), .register_reset_a(register_reset_a),
        .clk_b(clk_b), .en_b(en_b), .reset_b(reset_b), .we_b({8'd0, we_b}), .address_b(address_b),
        .register_en_b(register_en_b), .register_reset_b(register_reset_b),
        .i_a(joined(di_a, dip_a)),
        .i_b(wide_write ? joined({di_b, di_a}, {dip_b, dip_a}) : joined(di_b, dip_b)),
        .o_a(o_a), .o_b(o_b)
    );
    wire [63:0] data_a = data(o_a), data_b = data(o_b);
    wire [7:0] parity_a = parity(o_a), parity_b = parity(o_b);
    assign do_a = data_a, dop_a = parity_a;
    assign do_b = SDP ? data_a >> HALF : data_b;
    assign dop_b = SDP ? parity_a >> HALF / 8 : parity_b;
endmodule

// Cells, as the netlist names them.

module RAMB36E1 #(
    parameter DOA_REG = 0, DOB_REG = 0, EN_ECC_READ = "FALSE", EN_ECC_WRITE = "FALSE",
    `INITS(INIT_0, 256), `INITS(INIT_1, 256), `INITS(INIT_2, 256), `INITS(INIT_3, 256),
    `INITS(INIT_4, 256), `INITS(INIT_5, 256), `INITS(INIT_6, 256), `INITS(INIT_7, 256),
    `INITS(INITP_0, 256),
    parameter [35:0] INIT_A = 0, INIT_B = 0, SRVAL_A = 0, SRVAL_B = 0,
    parameter INIT_FILE = "NONE", RAM_MODE = "TDP", SIM_DEVICE = "7SERIES",
    parameter RAM_EXTENSION_A = "NONE", RAM_EXTENSION_B = "NONE",
    parameter RDADDR_COLLISION_HWCONFIG = "", RSTREG_PRIORITY_A = "", RSTREG_PRIORITY_B = "",
    parameter SIM_COLLISION_CHECK = "ALL",
    parameter READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0,
    parameter WRITE_MODE_A = "WRITE_FIRST", WRITE_MODE_B = "WRITE_FIRST",
    parameter [0:0] IS_CLKARDCLK_INVERTED = 0, IS_CLKBWRCLK_INVERTED = 0,
    parameter [0:0] IS_ENARDEN_INVERTED = 0, IS_ENBWREN_INVERTED = 0,
    parameter [0:0] IS_RSTRAMARSTRAM_INVERTED = 0, IS_RSTRAMB_INVERTED = 0,
    parameter [0:0] IS_RSTREGARSTREG_INVERTED = 0, IS_RSTREGB_INVERTED = 0
) (
    output CASCADEOUTA, CASCADEOUTB, SBITERR, DBITERR,
    output [31:0] DOADO, DOBDO,
    output [3:0] DOPADOP, DOPBDOP,
    output [7:0] ECCPARITY,
    output [8:0] RDADDRECC,
    input ENARDEN, CLKARDCLK, RSTRAMARSTRAM, RSTREGARSTREG, CASCADEINA, REGCEAREGCE,
    input ENBWREN, CLKBWRCLK, RSTRAMB, RSTREGB, CASCADEINB, REGCEB,
    input INJECTDBITERR, INJECTSBITERR,
    input [15:0] ADDRARDADDR, ADDRBWRADDR,
    input [31:0] DIADI, DIBDI,
    input [3:0] DIPADIP, DIPBDIP, WEA,
    input [7:0] WEBWE
);
    localparam [32767:0] CONTENT = {`ALL(INIT_7), `ALL(INIT_6), `ALL(INIT_5), `ALL(INIT_4),
        `ALL(INIT_3), `ALL(INIT_2), `ALL(INIT_1), `ALL(INIT_0)};
    localparam [4095:0] PARITY = {`ALL(INITP_0)};
    popstream_ramb #(
        .HALF(32), .RAM_MODE(RAM_MODE), .WRITE_MODE_A(WRITE_MODE_A), .WRITE_MODE_B(WRITE_MODE_B),
        .READ_WIDTH_A(READ_WIDTH_A), .READ_WIDTH_B(READ_WIDTH_B), .WRITE_WIDTH_A(WRITE_WIDTH_A),
        .WRITE_WIDTH_B(WRITE_WIDTH_B), .DOA_REG(DOA_REG), .DOB_REG(DOB_REG),
        .INIT({INIT_B, INIT_A}), .SRVAL({SRVAL_B, SRVAL_A})
    ) half (
        .clk_a(CLKARDCLK ^ IS_CLKARDCLK_INVERTED), .en_a(ENARDEN ^ IS_ENARDEN_INVERTED),
        .reset_a(RSTRAMARSTRAM ^ IS_RSTRAMARSTRAM_INVERTED), .register_en_a(REGCEAREGCE),
        .register_reset_a(RSTREGARSTREG ^ IS_RSTREGARSTREG_INVERTED),
        .clk_b(CLKBWRCLK ^ IS_CLKBWRCLK_INVERTED), .en_b(ENBWREN ^ IS_ENBWREN_INVERTED),
        .reset_b(RSTRAMB ^ IS_RSTRAMB_INVERTED), .register_en_b(REGCEB),
        .register_reset_b(RSTREGB ^ IS_RSTREGB_INVERTED),
        .we_a(WEA), .we_b(WEBWE),
        .address_a(ADDRARDADDR[14:0]), .address_b(ADDRBWRADDR[14:0]),
        .di_a(DIADI), .di_b(DIBDI), .dip_a(DIPADIP), .dip_b(DIPBDIP),
        .do_a(DOADO), .do_b(DOBDO), .dop_a(DOPADOP), .dop_b(DOPBDOP)
    );
    initial begin
        for (integer n = 0; n < 4096; n = n + 1)
            half.ram.bytes[n] = {PARITY[n], CONTENT[8 * n +: 8]};
        if (RAM_EXTENSION_A != "NONE" || RAM_EXTENSION_B != "NONE" || EN_ECC_READ != "FALSE"
                || EN_ECC_WRITE != "FALSE")
            $fatal(1, "RAMB36E1: no model of cascades and error correction");
    end
endmodule

module RAMB18E1 #(
    parameter DOA_REG = 0, DOB_REG = 0,
    `INITS(INIT_0, 256), `INITS(INIT_1, 256), `INITS(INIT_2, 256), `INITS(INIT_3, 256),
    parameter [255:0] INITP_00 = 0, INITP_01 = 0, INITP_02 = 0, INITP_03 = 0,
    parameter [255:0] INITP_04 = 0, INITP_05 = 0, INITP_06 = 0, INITP_07 = 0,
    parameter [17:0] INIT_A = 0, INIT_B = 0, SRVAL_A = 0, SRVAL_B = 0,
    parameter INIT_FILE = "NONE", RAM_MODE = "TDP", SIM_DEVICE = "7SERIES",
    parameter RDADDR_COLLISION_HWCONFIG = "", RSTREG_PRIORITY_A = "", RSTREG_PRIORITY_B = "",
    parameter SIM_COLLISION_CHECK = "ALL",
    parameter READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0,
    parameter WRITE_MODE_A = "WRITE_FIRST", WRITE_MODE_B = "WRITE_FIRST",
    parameter [0:0] IS_CLKARDCLK_INVERTED = 0, IS_CLKBWRCLK_INVERTED = 0,
    parameter [0:0] IS_ENARDEN_INVERTED = 0, IS_ENBWREN_INVERTED = 0,
    parameter [0:0] IS_RSTRAMARSTRAM_INVERTED = 0, IS_RSTRAMB_INVERTED = 0,
    parameter [0:0] IS_RSTREGARSTREG_INVERTED = 0, IS_RSTREGB_INVERTED = 0
) (
    output [15:0] DOADO, DOBDO,
    output [1:0] DOPADOP, DOPBDOP,
    input ENARDEN, CLKARDCLK, RSTRAMARSTRAM, RSTREGARSTREG, REGCEAREGCE,
    input ENBWREN, CLKBWRCLK, RSTRAMB, RSTREGB, REGCEB,
    input [13:0] ADDRARDADDR, ADDRBWRADDR,
    input [15:0] DIADI, DIBDI,
    input [1:0] DIPADIP, DIPBDIP, WEA,
    input [3:0] WEBWE
);
    localparam [16383:0] CONTENT = {`ALL(INIT_3), `ALL(INIT_2), `ALL(INIT_1), `ALL(INIT_0)};
    localparam [2047:0] PARITY = {INITP_07, INITP_06, INITP_05, INITP_04,
        INITP_03, INITP_02, INITP_01, INITP_00};
    popstream_ramb #(
        .HALF(16), .RAM_MODE(RAM_MODE), .WRITE_MODE_A(WRITE_MODE_A), .WRITE_MODE_B(WRITE_MODE_B),
        .READ_WIDTH_A(READ_WIDTH_A), .READ_WIDTH_B(READ_WIDTH_B), .WRITE_WIDTH_A(WRITE_WIDTH_A),
        .WRITE_WIDTH_B(WRITE_WIDTH_B), .DOA_REG(DOA_REG), .DOB_REG(DOB_REG),
        .INIT({INIT_B, INIT_A}), .SRVAL({SRVAL_B, SRVAL_A})
    ) half (
        .clk_a(CLKARDCLK ^ IS_CLKARDCLK_INVERTED), .en_a(ENARDEN ^ IS_ENARDEN_INVERTED),
        .reset_a(RSTRAMARSTRAM ^ IS_RSTRAMARSTRAM_INVERTED), .register_en_a(REGCEAREGCE),
        .register_reset_a(RSTREGARSTREG ^ IS_RSTREGARSTREG_INVERTED),
        .clk_b(CLKBWRCLK ^ IS_CLKBWRCLK_INVERTED), .en_b(ENBWREN ^ IS_ENBWREN_INVERTED),
        .reset_b(RSTRAMB ^ IS_RSTRAMB_INVERTED), .register_en_b(REGCEB),
        .register_reset_b(RSTREGB ^ IS_RSTREGB_INVERTED),
        .we_a(WEA), .we_b(WEBWE),
        .address_a({1'b0, ADDRARDADDR}), .address_b({1'b0, ADDRBWRADDR}),
        .di_a(DIADI), .di_b(DIBDI), .dip_a(DIPADIP), .dip_b(DIPBDIP),
        .do_a(DOADO), .do_b(DOBDO), .dop_a(DOPADOP), .dop_b(DOPBDOP)
    );
    initial
        for (integer n = 0; n < 2048; n = n + 1)
            half.ram.bytes[n] = {PARITY[n], CONTENT[8 * n +: 8]};
endmodule

// ECP5. A port of 36 bits is both ports: A writes, B reads, A's pins carry the lower half.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC",
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000",
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL",
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "AUTO", WID = 0,
    `INITS(INITVAL_0, 320), `INITS(INITVAL_1, 320), `INITS(INITVAL_2, 320), `INITS(INITVAL_3, 320)
) (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
    input DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
    input DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
    output DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
    output DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
    localparam [20479:0] CONTENT = {`ALL(INITVAL_3), `ALL(INITVAL_2), `ALL(INITVAL_1),
        `ALL(INITVAL_0)};

    wire [17:0] di_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
        DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] di_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
        DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4,
        ADA3, ADA2, ADA1, ADA0};
    wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4,
        ADB3, ADB2, ADB1, ADB0};
    wire [71:0] o_a, o_b;

    // A wide port's lowest address bits enable its bytes.
    popstream_block_ram #(
        .BYTES(2048), .RESET_NEEDS_ENABLE(0),
        .READ_A(DATA_WIDTH_A == 36 ? 0 : DATA_WIDTH_A), .WRITE_A(DATA_WIDTH_A),
        .READ_B(DATA_WIDTH_B), .WRITE_B(DATA_WIDTH_B == 36 ? 0 : DATA_WIDTH_B),
        .REGISTER_A(REGMODE_A == "OUTREG"), .REGISTER_B(REGMODE_B == "OUTREG"),
        .NEW_A(WRITEMODE_A == "WRITETHROUGH"), .OLD_A(WRITEMODE_A == "READBEFOREWRITE"),
        .NEW_B(WRITEMODE_B == "WRITETHROUGH"), .OLD_B(WRITEMODE_B == "READBEFOREWRITE")
    ) ram (
        .clk_a(CLKA ^ (CLKAMUX == "INV")), .en_a(CEA), .reset_a(RSTA), .address_a(address_a),
        .we_a(!WEA ? 8'd0 : DATA_WIDTH_A < 18 ? 8'd1 : {4'd0, address_a[3:0]}),
        .register_en_a(OCEA), .register_reset_a(RSTA), .i_a({di_b, di_a}), .o_a(o_a),
        .clk_b(CLKB ^ (CLKBMUX == "INV")), .en_b(CEB), .reset_b(RSTB), .address_b(address_b),
        .we_b(!WEB ? 8'd0 : DATA_WIDTH_B < 18 ? 8'd1 : {4'd0, address_b[3:0]}),
        .register_en_b(OCEB), .register_reset_b(RSTB), .i_b({54'd0, di_b}), .o_b(o_b)
    );
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
        DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0}
        = DATA_WIDTH_B == 36 ? o_b[17:0] : o_a[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
        DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0}
        = DATA_WIDTH_B == 36 ? o_b[35:18] : o_b[17:0];

    initial begin
        for (integer n = 0; n < 2048; n = n + 1)
            ram.bytes[n] = CONTENT[n / 2 * 20 + n % 2 * 9 +: 9];
        if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
            $fatal(1, "DP16KD: no model of chip selects");
    end
    always @(posedge RSTA or posedge RSTB)
        if (RESETMODE != "SYNC") $fatal(1, "DP16KD: no model of an asynchronous reset");
endmodule
