// SPDX-License-Identifier: Apache-2.0
// A board on the bench: its clock, its flash chip, and a host at the other end of its serial line.
//
// The clock and every bit live here, so that Python acts once an exchange, not once a cycle. The
// host's commands (sim/device.py) come through a pipe. Each is answered with records (the format of
// sim/records.py) of all that was seen at the pins meanwhile, the last one DONE; then time stands
// still until the next command comes. The end of the pipe ends the simulation.
//
// Plusargs:
//   +commands=FILE   the pipe
//   +flash=FILE      contents of the flash chip; see flash_chip.v
//   +waves=FILE      write a waveform

`timescale 1ns/1ps

/* verilator lint_off WIDTHEXPAND */
/* verilator lint_off WIDTHTRUNC */
/* verilator lint_off BLKSEQ */
/* verilator lint_off STMTDLY */

module harness;
    // LOAD_WIDTH, DIVISOR, FLASH_OFFSET and WAKE_CYCLES.
    `include "sizes.vh"

    // Records.
    localparam [7:0] BYTE = 1, BAD_BYTE = 2, LOAD = 3, FLASH = 4, LEDS = 5, DONE = 6, END = 7;
    // At most one of each kind in a cycle; a batch is handed out while that many still fit.
    localparam integer CAPACITY = 256, MOST_A_CYCLE = 6;
    // Commands: 8 bytes, the kind, 24 bits of `argument`, 32 bits of `left`, high bytes first.
    //   SEND  `left` bytes follow: send them, `argument` cycles a bit
    //   WAIT  for `argument` bytes from the board, `left` cycles at most
    localparam [7:0] NONE = 0, SEND = 1, WAIT = 2;

    // What Python reads: `batch` toggles when `count` records are ready in `records`, the first in
    // the low bits. They stay until the next rising edge of the clock.
    reg batch = 0;
    reg [15:0] count = 0;
    reg [CAPACITY * 128 - 1:0] records = 0;

    reg clk = 0;
    always #5 clk = !clk;

    reg rx = 1;
    wire tx;
    wire flash_cs_n, flash_sck, flash_copi, flash_cipo;
    wire led_g, led_r;
    wire [LOAD_WIDTH - 1:0] load__payload;
    wire load__valid, load__ready;

    board board (
        .clk(clk), .rx(rx), .tx(tx),
        .flash_cs_n(flash_cs_n), .flash_sck(flash_sck),
        .flash_copi(flash_copi), .flash_cipo(flash_cipo),
        .led_g(led_g), .led_r(led_r),
        .load__payload(load__payload), .load__valid(load__valid), .load__ready(load__ready)
    );

    wire flash_heard;
    wire [7:0] flash_command;
    wire [23:0] flash_address;
    flash_chip #(.OFFSET(FLASH_OFFSET), .WAKE_CYCLES(WAKE_CYCLES)) flash (
        .clk(clk), .cs_n(flash_cs_n), .sck(flash_sck), .copi(flash_copi), .cipo(flash_cipo),
        .heard(flash_heard), .command(flash_command), .address(flash_address)
    );

    string path;
    integer commands, got;
    initial begin
        if ($value$plusargs("waves=%s", path)) begin
            $dumpfile(path);
            $dumpvars(0, harness);
        end
        commands = 0;
        if ($value$plusargs("commands=%s", path)) commands = $fopen(path, "rb");
    end

    reg [7:0] block = NONE;
    reg [23:0] argument = 0;
    reg [31:0] left = 0;
    reg [63:0] word;
    reg [39:0] now = 0;
    reg hand_out = 0, handed_out = 0, stop = 0;

    // The byte that is being sent: what is left of its bits, the next one lowest.
    reg [9:0] sent = 0;
    reg [3:0] sent_bits = 0;
    reg [23:0] sent_timer = 0;
    // The byte that is being received.
    reg receiving = 0;
    reg [7:0] received = 0;
    reg [3:0] received_bits = 0;
    reg [23:0] received_timer = 0;
    reg [23:0] came = 0;
    // What was seen last.
    reg last_heard = 0;
    reg [1:0] last_leds = 0;

    task put(input [7:0] kind, input [79:0] payload);
        begin
            records[count * 128 +: 128] = {kind, now, payload};
            count = count + 1;
        end
    endtask

    task done;
        begin
            put(DONE, 0);
            hand_out = 1;
            block = NONE;
        end
    endtask

    // A bit is looked at in its middle.
    task listen;
        begin
            if (!receiving) begin
                if (!tx) begin
                    receiving = 1;
                    received_bits = 0;
                    received_timer = DIVISOR + DIVISOR / 2 - 1;
                end
            end else if (received_timer != 0) begin
                received_timer = received_timer - 1;
            end else if (received_bits == 8) begin
                put(tx ? BYTE : BAD_BYTE, received);
                came = came + 1;
                receiving = 0;
            end else begin
                received = {tx, received[7:1]};
                received_bits = received_bits + 1;
                received_timer = DIVISOR - 1;
            end
        end
    endtask

    task speak;
        begin
            if (sent_timer != 0) begin
                sent_timer = sent_timer - 1;
            end else begin
                if (block == SEND && sent_bits == 0) begin
                    if (left == 0) begin
                        done;
                    end else begin
                        got = $fgetc(commands);
                        sent = {1'b1, got[7:0], 1'b0};
                        sent_bits = 10;
                        left = left - 1;
                    end
                end
                if (sent_bits != 0) begin
                    rx <= sent[0];
                    sent = sent >> 1;
                    sent_bits = sent_bits - 1;
                    sent_timer = argument - 1;
                end
            end
        end
    endtask

    // Only this block and Python touch what is assigned with `=`, so blocking assignments cannot
    // race; what the board sees is assigned with `<=`.
    always @(posedge clk) if (!stop) begin
        if (handed_out) begin
            count = 0;
            handed_out = 0;
        end
        if (block == NONE) begin
            got = $fread(word, commands);
            {block, argument, left} = word;
            came = 0;
            if (got != 8 || (block != SEND && block != WAIT)) begin
                put(END, 0);
                hand_out = 1;
                stop = 1;
            end
        end
        now = now + 1;
        if (load__valid && load__ready) put(LOAD, load__payload);
        if (flash_heard != last_heard) put(FLASH, {flash_command, flash_address});
        last_heard = flash_heard;
        if ({led_r, led_g} != last_leds) put(LEDS, {led_r, led_g});
        last_leds = {led_r, led_g};
        listen;
        speak;
        if (block == WAIT) begin
            if (came >= argument || left == 0) done;
            left = left - 1;
        end
        if (count + MOST_A_CYCLE > CAPACITY || hand_out) begin
            hand_out = 0;
            handed_out = 1;
            batch = !batch;
        end
    end
endmodule
