package main

import (
	"encoding/json"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/headwater/headwater/appliance/bench"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench [produce|fetch|commit]",
		Short: "Measure a broker, and the limits of the machine beside it",
		Long: "Put a load on a broker over the Kafka protocol, and on the limits of the machine in\n" +
			"turns with it, and print what both came to. Without a kind all three are run, as\n" +
			"docs/PERFORMANCE.md has them; a flag that is given counts for each of them. Without\n" +
			"--address a broker is started, with its data in a temporary directory.",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{string(bench.Produce), string(bench.Fetch), string(bench.Commit)},
	}
	var given bench.Workload
	var options bench.Options
	var asJSON bool
	override := workloadFlags(cmd, &given)
	flags := cmd.Flags()
	flags.StringVar(&options.Address, "address", "", "host:port of a broker that runs already")
	flags.StringVar(&options.Dir, "dir", ".", "where temporary data is written; it should be on the disk that is meant")
	flags.IntVar(&options.Rounds, "rounds", 5, "passes of each side, after one that warms up")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kinds := []bench.Kind{bench.Produce, bench.Fetch, bench.Commit}
		if len(args) == 1 {
			kinds = []bench.Kind{bench.Kind(args[0])}
		}
		var workloads []bench.Workload
		for _, kind := range kinds {
			w := override(bench.Default(kind))
			if err := w.Validate(); err != nil {
				return err
			}
			workloads = append(workloads, w)
		}
		options.Log, options.Rounds = cmd.ErrOrStderr(), max(options.Rounds, 1)
		return runBench(cmd, options, workloads, asJSON)
	}
	cmd.AddCommand(newBenchLimit(), newBenchStart(), newBenchIdle())
	return cmd
}

// workloadFlags gives cmd a flag for each part of a workload, and returns what
// puts those that were given in place of w's.
func workloadFlags(cmd *cobra.Command, given *bench.Workload) (override func(w bench.Workload) bench.Workload) {
	shown := bench.Default(bench.Produce)
	flags := cmd.Flags()
	flags.SortFlags = false
	set := map[string]func(w *bench.Workload){}
	number := func(name string, value int, usage string, field func(w *bench.Workload) *int) {
		flags.IntVar(field(given), name, value, usage)
		set[name] = func(w *bench.Workload) { *field(w) = *field(given) }
	}
	number("record-bytes", shown.RecordBytes, "of a record's value", func(w *bench.Workload) *int { return &w.RecordBytes })
	number("batch-bytes", shown.BatchBytes, "of a batch; 0 puts one record in each, as commit does", func(w *bench.Workload) *int { return &w.BatchBytes })
	number("fetch-bytes", shown.FetchBytes, "of a fetch's answer", func(w *bench.Workload) *int { return &w.FetchBytes })
	number("connections", shown.Connections, "that are opened; commit: 8", func(w *bench.Workload) *int { return &w.Connections })
	number("in-flight", shown.InFlight, "requests of a connection; commit: 16; a fetch has one", func(w *bench.Workload) *int { return &w.InFlight })
	number("acks", shown.Acks, "-1, 0 or 1", func(w *bench.Workload) *int { return &w.Acks })
	number("partitions", shown.Partitions, "of the topic", func(w *bench.Workload) *int { return &w.Partitions })
	number("segment-bytes", shown.SegmentBytes, "of the topic's segments, and of a limit's growing files", func(w *bench.Workload) *int { return &w.SegmentBytes })
	flags.Int64Var(&given.Bytes, "bytes", shown.Bytes, "of a pass, which is what bounds the disk space; 0 for --duration alone")
	set["bytes"] = func(w *bench.Workload) { w.Bytes = given.Bytes }
	flags.DurationVar(&given.Duration, "duration", 0, "of a pass, if --bytes do not end it sooner; commit: 3s")
	set["duration"] = func(w *bench.Workload) { w.Duration = given.Duration }
	flags.StringVar(&given.Durability, "durability", shown.Durability, "of the broker that is started: sync, interval or os; commit: sync")
	set["durability"] = func(w *bench.Workload) { w.Durability = given.Durability }
	return func(w bench.Workload) bench.Workload {
		for name, put := range set {
			if flags.Changed(name) {
				put(&w)
			}
		}
		return w
	}
}

func runBench(cmd *cobra.Command, options bench.Options, workloads []bench.Workload, asJSON bool) (err error) {
	if options.Binary, err = os.Executable(); err != nil {
		return failure{err}
	}
	report, err := bench.Run(cmd.Context(), options, workloads)
	if err != nil {
		return failure{err}
	}
	if !asJSON {
		return report.Print(cmd.OutOrStdout())
	}
	out := json.NewEncoder(cmd.OutOrStdout())
	out.SetIndent("", "  ")
	return out.Encode(report)
}

// newBenchLimit is what bench starts for itself.
func newBenchLimit() *cobra.Command {
	return &cobra.Command{
		Use:    "limit LIMIT DIR SEGMENT-BYTES FETCH-BYTES",
		Hidden: true,
		Args:   cobra.ExactArgs(4),
		RunE: func(cmd *cobra.Command, args []string) error {
			segmentBytes, err := strconv.Atoi(args[2])
			if err != nil {
				return err
			}
			fetchBytes, err := strconv.Atoi(args[3])
			if err != nil {
				return err
			}
			if err := bench.ServeLimit(bench.Limit(args[0]), args[1], segmentBytes, fetchBytes, cmd.InOrStdin(), cmd.OutOrStdout()); err != nil {
				return failure{err}
			}
			return nil
		},
	}
}
