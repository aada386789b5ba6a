// SPDX-License-Identifier: Apache-2.0
// Drives the core with a stimulus file at full speed and hands out every transfer it makes.
//
// The clock, the stimulus and the watchdog live here so that Python acts once a batch of records,
// not once a cycle. The stimulus (sim/stimulus.py) is a sequence of blocks: writes to the load port,
// samples, and a few commands. The records (sim/records.py) are every transfer of every output
// stream, in order, with the cycle in which it happened. Neither knows the network's sizes: only
// the widths of the core's ports, from sizes.vh, which sim/emit.py writes beside the core.
//
// Plusargs:
//   +stimulus=FILE   the stimulus
//   +watchdog=N      give up after N cycles without a transfer
//   +stall=SEED      random pauses on every stream that may pause; 0 or absent: none
//   +waves=FILE      where the waveform goes once the stimulus asks for it

`timescale 1ns/1ps

/* verilator lint_off WIDTHEXPAND */
/* verilator lint_off WIDTHTRUNC */
/* verilator lint_off BLKSEQ */
/* verilator lint_off STMTDLY */

module harness;
    `include "sizes.vh"

    // Records: 16 bytes each. See sim/records.py.
    localparam [7:0] SPIKE = 1, STATISTICS = 2, LOGIT = 3, CYCLES = 4, END = 5;
    // At most one of each kind but END in a cycle; a batch is handed out while that many still fit.
    localparam integer CAPACITY = 256, MOST_A_CYCLE = 5;
    // Cycles without a transfer before the end is the end.
    localparam integer AFTERMATH = 200;
    // Why the simulation ended.
    localparam [7:0] DONE = 0, HANG = 1, CORE_ERROR = 2, BAD_STIMULUS = 3;
    // Blocks of the stimulus. See sim/stimulus.py.
    localparam [7:0] WRITES = 1, SAMPLES = 2, RESTART = 3, WAIT = 4, WAVES = 5, FINISH = 6,
        PAIRS = 7;

    // What Python reads: `batch` toggles when `count` records are ready in `records`, the first in
    // the low bits. They stay until the next rising edge of the clock.
    reg batch = 0;
    reg [15:0] count = 0;
    reg [CAPACITY * 128 - 1:0] records = 0;

    reg clk = 0;
    reg rst = 1;
    always #5 clk = !clk;

    reg [LOAD_WIDTH - 1:0] load__payload = 0;
    reg load__valid = 0;
    wire load__ready;
    reg restart = 0;
    reg [SAMPLE_WIDTH - 1:0] i__payload = 0;
    reg i__valid = 0;
    wire i__ready;
    wire [LOGIT_WIDTH - 1:0] o__payload;
    wire o__valid;
    reg o__ready = 0;
    wire [SPIKE_WIDTH - 1:0] spikes__payload;
    wire spikes__valid;
    wire [STATISTICS_WIDTH - 1:0] statistics__payload;
    wire statistics__valid;
    wire busy;
    wire [23:0] cycles;
    // Its value when the logit that is offered appeared: later it is another image's.
    reg [23:0] seen_cycles;
    reg seen = 0;
    wire [3:0] error;

    core core (
        .clk(clk), .rst(rst),
        .load__payload(load__payload), .load__valid(load__valid), .load__ready(load__ready),
        .restart(restart),
        .i__payload(i__payload), .i__valid(i__valid), .i__ready(i__ready),
        .o__payload(o__payload), .o__valid(o__valid), .o__ready(o__ready),
        .spikes__payload(spikes__payload), .spikes__valid(spikes__valid),
        .statistics__payload(statistics__payload), .statistics__valid(statistics__valid),
        .busy(busy), .cycles(cycles), .error(error)
    );

    string stimulus_path, waves_path;
    integer stimulus, got, second;
    reg [39:0] watchdog;
    reg [31:0] random;
    initial begin
        if (!$value$plusargs("watchdog=%d", watchdog)) watchdog = 40'd1 << 24;
        if (!$value$plusargs("stall=%d", random)) random = 0;
        if (!$value$plusargs("waves=%s", waves_path)) waves_path = "waves.vcd";
        if (!$value$plusargs("stimulus=%s", stimulus_path)) stimulus_path = "stimulus.bin";
        stimulus = $fopen(stimulus_path, "rb");
    end

    // Random pauses. Each of the two streams has a mood - never, seldom, often, always - that lasts
    // for some 64 cycles, so that short bubbles, long stalls and full speed all occur.
    reg [1:0] i_mood = 0, o_mood = 0;
    reg i_pause, o_pause;
    function pause(input [1:0] mood, input [1:0] dice);
        case (mood)
            0: pause = 0;
            1: pause = dice == 0;
            2: pause = dice != 0;
            3: pause = 1;
        endcase
    endfunction

    reg [7:0] block = 0;
    reg [23:0] argument = 0;
    reg [31:0] left = 0;
    reg [63:0] word;
    reg free, stop = 0, handed_out = 0;
    reg [7:0] reason = DONE;
    reg [39:0] now = 0, last_transfer = 0;
    reg [31:0] images = 0;

    task put(input [7:0] kind, input [79:0] payload);
        begin
            records[count * 128 +: 128] = {kind, now, payload};
            count = count + 1;
            last_transfer = now;
        end
    endtask

    task finish(input [7:0] why);
        begin
            if (!stop) begin
                reason = why;
                put(END, {images, error, reason});
            end
            stop = 1;
        end
    endtask

    // Only this block and Python touch what is assigned with `=`, so blocking assignments cannot
    // race; what the core sees is assigned with `<=`.
    always @(posedge clk) begin
        now = now + 1;
        rst <= now < 4;
        if (random != 0) begin
            random = random ^ (random << 13);
            random = random ^ (random >> 17);
            random = random ^ (random << 5);
            if (random[9:4] == 0) i_mood = random[11:10];
            if (random[17:12] == 0) o_mood = random[19:18];
        end
        i_pause = pause(i_mood, random[21:20]);
        o_pause = pause(o_mood, random[23:22]);

        if (handed_out) begin
            count = 0;
            handed_out = 0;
        end
        if (!rst && !stop) begin
            // What the core gave in the cycle that ends now.
            if (spikes__valid) put(SPIKE, spikes__payload);
            if (statistics__valid) put(STATISTICS, statistics__payload);
            if (o__valid && !seen) seen_cycles = cycles;
            seen = o__valid && !o__ready;
            if (o__valid && o__ready) begin
                put(LOGIT, o__payload);
                if (o__payload[LOGIT_LAST]) begin
                    put(CYCLES, seen_cycles);
                    images = images + 1;
                end
            end
            o__ready <= !o_pause;

            // What it took, and what it gets next.
            if ((i__valid && i__ready) || (load__valid && load__ready)) last_transfer = now;
            if (i__ready) i__valid <= 0;
            if (load__ready) load__valid <= 0;
            restart <= 0;
            free = (!i__valid || i__ready) && (!load__valid || load__ready);
            if (free && left == 0 && block != FINISH) begin
                got = $fread(word, stimulus);
                if (got != 8) finish(BAD_STIMULUS);
                {block, argument, left} = word;
                if (block == RESTART) restart <= 1;
                if (block == WAVES) begin
                    $dumpfile(waves_path);
                    $dumpvars(0, harness);
                end
            end else if (free) begin
                case (block)
                    WRITES: if (!i_pause) begin
                        got = $fread(word, stimulus);
                        if (got != 8) finish(BAD_STIMULUS);
                        load__payload <= word;
                        load__valid <= 1;
                        left = left - 1;
                    end
                    SAMPLES: if (!i_pause) begin
                        got = $fgetc(stimulus);
                        if (got < 0) finish(BAD_STIMULUS);
                        i__payload <= {argument, got[7:0]};
                        i__valid <= 1;
                        left = left - 1;
                    end
                    PAIRS: if (!i_pause) begin
                        got = $fgetc(stimulus);
                        second = $fgetc(stimulus);
                        if (second < 0 || SAMPLE_SECOND == 0) finish(BAD_STIMULUS);
                        i__payload <= {argument, got[7:0]} | second[7:0] << SAMPLE_SECOND;
                        i__valid <= 1;
                        left = left - 1;
                    end
                    WAIT: if (images >= left) left = 0;
                    // Whatever comes after the last logit is seen too: it should not come.
                    FINISH: if (images >= left && now - last_transfer > AFTERMATH) finish(DONE);
                    default: finish(BAD_STIMULUS);
                endcase
            end
            // An error left over from before the writes is the reason for the writes.
            if (error != 0 && block != WRITES) finish(CORE_ERROR);
            if (now - last_transfer > watchdog) finish(HANG);
        end
        if (count + MOST_A_CYCLE > CAPACITY || (stop && count != 0)) begin
            handed_out = 1;
            batch = !batch;
        end
    end
endmodule
