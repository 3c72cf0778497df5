// Cells of our own for 7-series, which synthesis takes as they are. abc9 looks into a CARRY4 and
// takes an unused sum for the carry that it equals; into these it cannot look. After synthesis they
// become CARRY4s whose unused positions are left unconnected: tied low, each would cost a LUT.

module POPSTREAM_CARRY4 #(
    parameter POSITIONS = 4  // the lowest of S, DI, O and CO that are in use
) (
    input CI, CYINIT,
    input [3:0] DI, S,
    output [3:0] O, CO
);
    wire [7:0] s = {4'bxxxx, S[POSITIONS-1:0]};
    wire [7:0] di = {4'bxxxx, DI[POSITIONS-1:0]};
    CARRY4 _TECHMAP_REPLACE_ (
        .CI(CI), .CYINIT(CYINIT), .DI(di[3:0]), .S(s[3:0]), .O(O), .CO(CO)
    );
endmodule
