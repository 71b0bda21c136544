package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/headwater/headwater/appliance"
	"github.com/headwater/headwater/appliance/config"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "headwater",
		Short:         "A Kafka-compatible broker for the edge that devices reach by NATS",
		Args:          cobra.NoArgs,
		SilenceErrors: true, // report writes them, in one line
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return config.FlagProblem(err) })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newServe(), newCheckConfig(), newRoute(), newBench(), newVerify(), newPasswd(), newHealth(), newFirmware(), newVersion())
	return root
}

// withSettings gives cmd --config and a flag for each setting, and returns what
// loads them.
func withSettings(cmd *cobra.Command) (load func(file string) (config.Config, error)) {
	file := cmd.Flags().StringP("config", "c", "", "YAML `file` with settings")
	cmd.Flags().SortFlags = false
	config.AddFlags(cmd.Flags())
	return func(instead string) (config.Config, error) {
		if instead == "" {
			instead = *file
		}
		return config.Load(instead, cmd.Flags(), os.Environ())
	}
}

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the appliance",
		Long: "Run the appliance until SIGTERM or SIGINT: then it stops taking, finishes what it\n" +
			"took, syncs and exits with 0. A second signal ends it at once.",
		Args: cobra.NoArgs,
	}
	load := withSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load("")
		if err != nil {
			return err
		}
		a, err := appliance.New(cfg, limitMemory(cfg.Memory.Limit), newLogger(cfg.Log))
		if err == nil {
			err = a.Run(cmd.Context())
		}
		if err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}

// limitMemory tells the runtime to stay below the limit that setting stands for,
// and returns it, 0 for none. Who sets GOMEMLIMIT and no limit of ours is obeyed.
func limitMemory(setting int64) int64 {
	if setting == config.MemoryAuto && os.Getenv("GOMEMLIMIT") != "" {
		return debug.SetMemoryLimit(-1) // only reads it
	}
	limit := appliance.MemoryLimit(setting, os.DirFS("/"))
	if limit > 0 {
		debug.SetMemoryLimit(appliance.HeapLimit(limit))
	}
	return limit
}

func newLogger(cfg config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		panic(err) // config allows slog's names only
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

func newCheckConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check-config [FILE]",
		Short: "Print the effective settings, or everything that is wrong with them",
		Args:  cobra.MaximumNArgs(1),
	}
	load := withSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := load(first(args))
		if err != nil {
			return err
		}
		return cfg.Print(cmd.OutOrStdout())
	}
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
