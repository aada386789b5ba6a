// SPDX-License-Identifier: Apache-2.0
// An SPI flash chip, in mode 0, in deep power-down as an FPGA leaves it after its configuration.
//
// It knows the two commands of a boot: release from power-down (0xAB), after which it needs
// WAKE_CYCLES cycles of `clk` until it hears anything, and read (0x03) from a 24-bit address on.
// Asleep, not selected, or without such a command it drives nothing, and a pull-up gives ones. What
// it answers comes one cycle of `clk` after the SPI clock falls, like from a slow chip.
//
// Its contents are a file, from the address OFFSET on; everything else is erased, 0xFF.
//
// Plusargs:
//   +flash=FILE   the contents; absent: the whole chip is erased

/* verilator lint_off WIDTHEXPAND */
/* verilator lint_off WIDTHTRUNC */
/* verilator lint_off BLKSEQ */

module flash_chip #(parameter OFFSET = 0, parameter WAKE_CYCLES = 0) (
    input clk,
    input cs_n,
    input sck,
    input copi,
    output reg cipo,
    // `heard` toggles with each command that was complete; a command not known is heard too.
    output reg heard,
    output reg [7:0] command,
    output reg [23:0] address
);
    localparam [7:0] WAKE_UP = 8'hAB, READ = 8'h03;

    string path;
    integer file, got;
    initial begin
        cipo = 1;
        heard = 0;
        file = 0;
        if ($value$plusargs("flash=%s", path)) file = $fopen(path, "rb");
    end

    reg awake = 0;
    reg [31:0] sleep = 0;
    reg [5:0] bits = 0;
    reg [31:0] shift;
    reg reading = 0, last_cs_n = 1, last_sck = 0;
    reg [23:0] place;
    reg [7:0] data;

    task fetch;
        begin
            data = 8'hFF;
            if (file != 0 && place >= OFFSET) begin
                got = $fseek(file, place - OFFSET, 0);
                // Behind the end of the file this gives -1, which is ones as well.
                got = $fgetc(file);
                data = got[7:0];
            end
            place = place + 1;
        end
    endtask

    always @(posedge clk) begin
        if (sleep != 0) begin
            sleep = sleep - 1;
            awake = sleep == 0;
        end
        if (cs_n) begin
            if (!last_cs_n) begin
                // Commands without an address are carried out when the chip is deselected.
                if (bits == 8 && shift[7:0] == WAKE_UP) sleep = WAKE_CYCLES;
                if (bits == 8) begin
                    command = shift[7:0];
                    address = 0;
                    heard = !heard;
                end
            end
            bits = 0;
            reading = 0;
            cipo <= 1;
        end else if (sck && !last_sck) begin
            shift = {shift[30:0], copi};
            if (!reading) bits = bits == 33 ? 33 : bits + 1;
            if (bits == 32 && shift[31:24] == READ && awake) begin
                command = READ;
                address = shift[23:0];
                heard = !heard;
                reading = 1;
                place = address;
                bits = 0;
            end
        end else if (!sck && last_sck && reading) begin
            if (bits[2:0] == 0) fetch;
            cipo <= data[7 - bits[2:0]];
            bits = bits[2:0] + 1;
        end
        last_cs_n = cs_n;
        last_sck = sck;
    end
endmodule
