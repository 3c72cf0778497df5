// A simulated board's gateware behind a serial line.

`define PUBLIC /*verilator public_flat_rw*/

module popstream_board (
    input  clk `PUBLIC,
    input  rst `PUBLIC,
    input  rx  `PUBLIC,
    output tx  `PUBLIC
);
    shell shell (.clk(clk), .rst(rst), .rx(rx), .tx(tx));
endmodule
