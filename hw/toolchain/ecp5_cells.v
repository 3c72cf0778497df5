// A cell of our own for ECP5, which synthesis takes as it is: CCU2Cs side by side, one a word. In a
// CCU2C abc9 would tie the first carry of a row low, and nextpnr puts another CCU2C before a first
// carry that is connected, even to a constant, and behind a last one that is a net, even if nobody
// uses it. So the first is open, and the last becomes so just before place and route.

module POPSTREAM_CCU2C #(
    parameter [15:0] INIT0 = 0, INIT1 = 0,
    parameter WORDS = 1,
    parameter FIRST = 0, LAST = 0  // whether this is an end of a row
) (
    input [WORDS-1:0] CIN, A0, B0, C0, D0, A1, B1, C1, D1,
    output [WORDS-1:0] S0, S1, COUT
);
    genvar w;
    generate for (w = 0; w < WORDS; w = w + 1) begin : word
        (* popstream_last = LAST *)
        CCU2C #(
            .INIT0(INIT0), .INIT1(INIT1), .INJECT1_0("NO"), .INJECT1_1("NO")
        ) halves (
            .CIN(FIRST ? 1'bx : CIN[w]),
            .A0(A0[w]), .B0(B0[w]), .C0(C0[w]), .D0(D0[w]),
            .A1(A1[w]), .B1(B1[w]), .C1(C1[w]), .D1(D1[w]),
            .S0(S0[w]), .S1(S1[w]), .COUT(COUT[w])
        );
    end endgenerate
endmodule

module POPSTREAM_CCU2C_LAST #(
    parameter [15:0] INIT0 = 0, INIT1 = 0,
    parameter INJECT1_0 = "NO", INJECT1_1 = "NO"
) (
    input CIN, A0, B0, C0, D0, A1, B1, C1, D1,
    output S0, S1, COUT
);
    CCU2C #(
        .INIT0(INIT0), .INIT1(INIT1), .INJECT1_0("NO"), .INJECT1_1("NO")
    ) _TECHMAP_REPLACE_ (
        .CIN(CIN),
        .A0(A0), .B0(B0), .C0(C0), .D0(D0), .A1(A1), .B1(B1), .C1(C1), .D1(D1),
        .S0(S0), .S1(S1), .COUT(1'bx)
    );
endmodule
