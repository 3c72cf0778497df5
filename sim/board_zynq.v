// A simulated Zynq's gateware, with ports as cocotbext-axi's models want them: they speak AXI4, the PS7's ports AXI3.
// Bursts have at most 16 beats here, so the upper bits of a length are 0. WID, which AXI4 has not, comes from the bench
// on the processor's port. Locks, caches, protection and QoS are nobody's concern in a simulation. With WEIGHTS the
// gateware has a port that reads them.

`define PUBLIC /*verilator public_flat_rw*/

module popstream_board (
    input         clk        `PUBLIC,
    input         rst        `PUBLIC,
    output        interrupt  `PUBLIC,

    // M_AXI_GP0: the bench is the processor.
    input  [11:0] gp_arid    `PUBLIC,
    input  [31:0] gp_araddr  `PUBLIC,
    input   [7:0] gp_arlen   `PUBLIC,
    input   [2:0] gp_arsize  `PUBLIC,
    input   [1:0] gp_arburst `PUBLIC,
    input         gp_arvalid `PUBLIC,
    output        gp_arready `PUBLIC,
    output [11:0] gp_rid     `PUBLIC,
    output [31:0] gp_rdata   `PUBLIC,
    output  [1:0] gp_rresp   `PUBLIC,
    output        gp_rlast   `PUBLIC,
    output        gp_rvalid  `PUBLIC,
    input         gp_rready  `PUBLIC,
    input  [11:0] gp_awid    `PUBLIC,
    input  [31:0] gp_awaddr  `PUBLIC,
    input   [7:0] gp_awlen   `PUBLIC,
    input   [2:0] gp_awsize  `PUBLIC,
    input   [1:0] gp_awburst `PUBLIC,
    input         gp_awvalid `PUBLIC,
    output        gp_awready `PUBLIC,
    input  [11:0] gp_wid     `PUBLIC,
    input  [31:0] gp_wdata   `PUBLIC,
    input   [3:0] gp_wstrb   `PUBLIC,
    input         gp_wlast   `PUBLIC,
    input         gp_wvalid  `PUBLIC,
    output        gp_wready  `PUBLIC,
    output [11:0] gp_bid     `PUBLIC,
    output  [1:0] gp_bresp   `PUBLIC,
    output        gp_bvalid  `PUBLIC,
    input         gp_bready  `PUBLIC,

    // S_AXI_HP0: the bench is the memory.
    output  [5:0] hp_arid    `PUBLIC,
    output [31:0] hp_araddr  `PUBLIC,
    output  [7:0] hp_arlen   `PUBLIC,
    output  [2:0] hp_arsize  `PUBLIC,
    output  [1:0] hp_arburst `PUBLIC,
    output        hp_arvalid `PUBLIC,
    input         hp_arready `PUBLIC,
    input   [5:0] hp_rid     `PUBLIC,
    input  [63:0] hp_rdata   `PUBLIC,
    input   [1:0] hp_rresp   `PUBLIC,
    input         hp_rlast   `PUBLIC,
    input         hp_rvalid  `PUBLIC,
    output        hp_rready  `PUBLIC,
    output  [5:0] hp_awid    `PUBLIC,
    output [31:0] hp_awaddr  `PUBLIC,
    output  [7:0] hp_awlen   `PUBLIC,
    output  [2:0] hp_awsize  `PUBLIC,
    output  [1:0] hp_awburst `PUBLIC,
    output        hp_awvalid `PUBLIC,
    input         hp_awready `PUBLIC,
    output [63:0] hp_wdata   `PUBLIC,
    output  [7:0] hp_wstrb   `PUBLIC,
    output        hp_wlast   `PUBLIC,
    output        hp_wvalid  `PUBLIC,
    input         hp_wready  `PUBLIC,
    input   [5:0] hp_bid     `PUBLIC,
    input   [1:0] hp_bresp   `PUBLIC,
    input         hp_bvalid  `PUBLIC,
    output        hp_bready  `PUBLIC

`ifdef WEIGHTS
    // S_AXI_HP2: the same memory.
    ,
    output  [5:0] hp2_arid    `PUBLIC,
    output [31:0] hp2_araddr  `PUBLIC,
    output  [7:0] hp2_arlen   `PUBLIC,
    output  [2:0] hp2_arsize  `PUBLIC,
    output  [1:0] hp2_arburst `PUBLIC,
    output        hp2_arvalid `PUBLIC,
    input         hp2_arready `PUBLIC,
    input   [5:0] hp2_rid     `PUBLIC,
    input  [63:0] hp2_rdata   `PUBLIC,
    input   [1:0] hp2_rresp   `PUBLIC,
    input         hp2_rlast   `PUBLIC,
    input         hp2_rvalid  `PUBLIC,
    output        hp2_rready  `PUBLIC
`endif
);
    assign hp_arlen[7:4] = 0;
    assign hp_awlen[7:4] = 0;
`ifdef WEIGHTS
    assign hp2_arlen[7:4] = 0;
`endif

    shell shell (
        .clk(clk), .rst(rst), .interrupt(interrupt),

`ifdef WEIGHTS
        .hp2_arid(hp2_arid), .hp2_araddr(hp2_araddr), .hp2_arlen(hp2_arlen[3:0]), .hp2_arsize(hp2_arsize),
        .hp2_arburst(hp2_arburst), .hp2_arlock(), .hp2_arcache(), .hp2_arprot(), .hp2_arqos(),
        .hp2_arvalid(hp2_arvalid), .hp2_arready(hp2_arready),
        .hp2_rdata(hp2_rdata), .hp2_rresp(hp2_rresp), .hp2_rlast(hp2_rlast),
        .hp2_rvalid(hp2_rvalid), .hp2_rready(hp2_rready),
`endif

        .gp_arid(gp_arid), .gp_araddr(gp_araddr), .gp_arlen(gp_arlen[3:0]), .gp_arsize(gp_arsize[1:0]),
        .gp_arburst(gp_arburst), .gp_arvalid(gp_arvalid), .gp_arready(gp_arready),
        .gp_rid(gp_rid), .gp_rdata(gp_rdata), .gp_rresp(gp_rresp), .gp_rlast(gp_rlast),
        .gp_rvalid(gp_rvalid), .gp_rready(gp_rready),
        .gp_awid(gp_awid), .gp_awaddr(gp_awaddr), .gp_awlen(gp_awlen[3:0]), .gp_awsize(gp_awsize[1:0]),
        .gp_awburst(gp_awburst), .gp_awvalid(gp_awvalid), .gp_awready(gp_awready),
        .gp_wid(gp_wid), .gp_wdata(gp_wdata), .gp_wstrb(gp_wstrb), .gp_wlast(gp_wlast),
        .gp_wvalid(gp_wvalid), .gp_wready(gp_wready),
        .gp_bid(gp_bid), .gp_bresp(gp_bresp), .gp_bvalid(gp_bvalid), .gp_bready(gp_bready),

        .hp_arid(hp_arid), .hp_araddr(hp_araddr), .hp_arlen(hp_arlen[3:0]), .hp_arsize(hp_arsize),
        .hp_arburst(hp_arburst), .hp_arlock(), .hp_arcache(), .hp_arprot(), .hp_arqos(),
        .hp_arvalid(hp_arvalid), .hp_arready(hp_arready),
        .hp_rdata(hp_rdata), .hp_rresp(hp_rresp), .hp_rlast(hp_rlast),
        .hp_rvalid(hp_rvalid), .hp_rready(hp_rready),
        .hp_awid(hp_awid), .hp_awaddr(hp_awaddr), .hp_awlen(hp_awlen[3:0]), .hp_awsize(hp_awsize),
        .hp_awburst(hp_awburst), .hp_awlock(), .hp_awcache(), .hp_awprot(), .hp_awqos(),
        .hp_awvalid(hp_awvalid), .hp_awready(hp_awready),
        .hp_wid(), .hp_wdata(hp_wdata), .hp_wstrb(hp_wstrb), .hp_wlast(hp_wlast),
        .hp_wvalid(hp_wvalid), .hp_wready(hp_wready),
        .hp_bresp(hp_bresp), .hp_bvalid(hp_bvalid), .hp_bready(hp_bready)
    );
endmodule
