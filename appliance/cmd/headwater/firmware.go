package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/headwater/headwater/firmware/update"
)

func newFirmware() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "firmware",
		Short: "Make updates of the firmware, install them, and tell what became of them",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeygen(), newBundle(), newInspect(), newInstall(), newFirmwareStatus(), newRollback(), newFirmwareLog())
	return cmd
}

// slots is a box's firmware, here or elsewhere. What is done is printed to cmd's output.
type slots interface {
	status(ctx context.Context) (update.Status, error)
	install(cmd *cobra.Command, bundle *os.File, size int64, older, stay bool) error
	rollBack(cmd *cobra.Command, stay bool) error
}

// atBox gives cmd the flags that say which box is meant, and returns what finds it.
func atBox(cmd *cobra.Command) func() (slots, error) {
	url := cmd.Flags().String("box", "", "`URL` of the box's admin port, such as http://gateway.local:8080; without it this machine")
	settings := cmd.Flags().StringP("config", "c", "", "without --box: YAML `file` with the settings of the broker here")
	return func() (slots, error) {
		if *url != "" {
			return newBoxClient(*url)
		}
		return here(cmd, *settings)
	}
}

func newInstall() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install FILE",
		Short: "Write a bundle to the slot that does not run, and have it tried",
		Long: "Write the bundle FILE to the slot that does not run. The next start tries it: it is\n" +
			"marked good when the broker is ready and, if it has caught up with its region now, has\n" +
			"again; else the box goes back to what runs now. With --box the bundle goes to that box,\n" +
			"which restarts; its password (admin.password) is read from the terminal, or is the first\n" +
			"line of standard input. Exits with 1 if the bundle is refused or cannot be written.",
		Args: cobra.ExactArgs(1),
	}
	box := atBox(cmd)
	older := cmd.Flags().Bool("allow-downgrade", false, "take a version that is older than what runs")
	stay := cmd.Flags().Bool("no-restart", false, "let what runs go on; the next restart tries the bundle")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at, err := box()
		if err != nil {
			return err
		}
		f, size, err := openBundle(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		return failed(at.install(cmd, f, size, *older, *stay))
	}
	return cmd
}

// openBundle opens a file that is to be one, and returns its size.
func openBundle(name string) (*os.File, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func newInspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Print what a bundle says of itself, and check that it is whole",
		Long: "Print the manifest of the bundle FILE, and hold its payloads against it. Who signed\n" +
			"it is not looked at: that is for the box, which knows the keys.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, size, err := openBundle(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			bundle, err := update.Inspect(f, size)
			if err != nil {
				return failure{err}
			}
			if err := printJSON(cmd.OutOrStdout(), bundle.Manifest); err != nil {
				return err
			}
			return failed(bundle.Check(cmd.Context()))
		},
	}
}

func newFirmwareStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell what the two slots hold, and what became of the last update",
		Args:  cobra.NoArgs,
	}
	box := atBox(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		at, err := box()
		if err != nil {
			return err
		}
		s, err := at.status(cmd.Context())
		if err != nil {
			return failure{err}
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), s)
		}
		printStatus(cmd.OutOrStdout(), s)
		return nil
	}
	return cmd
}

func printStatus(w io.Writer, s update.Status) {
	for _, slot := range s.Slots {
		mark, version := " ", slot.Version
		if slot.Slot == s.Running {
			mark = "*"
		}
		if version == "" {
			version = "-"
		}
		fmt.Fprintf(w, "%s slot %s  %-16s %s", mark, slot.Slot, version, slot.State)
		if slot.State == update.SlotTrial {
			fmt.Fprintf(w, ", tried %d times, %d tries left", slot.Done, slot.Left)
		}
		fmt.Fprintln(w)
	}
	if r := s.Last; r != nil {
		fmt.Fprintf(w, "last update: %s in slot %s, %s (%s)\n", r.Version, r.Slot, r.Outcome, r.At.Format("2006-01-02 15:04:05Z07:00"))
		if r.Why != "" {
			fmt.Fprintf(w, "  %s\n", r.Why)
		}
		if r.Outcome == update.Trial && r.CaughtUp {
			fmt.Fprintln(w, "  it must be ready and have caught up, as what ran before had")
		}
	}
}

func newRollback() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to the other slot, or take back an update that was not tried yet",
		Args:  cobra.NoArgs,
	}
	box := atBox(cmd)
	stay := cmd.Flags().Bool("no-restart", false, "let what runs go on; the next restart goes back")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		at, err := box()
		if err != nil {
			return err
		}
		return failed(at.rollBack(cmd, *stay))
	}
	return cmd
}

func newFirmwareLog() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log --box URL",
		Short: "Print what a box has logged, from the first line that it still has",
		Long: "Print what the first process of a box and its broker have logged, over all their starts:\n" +
			"the last 4 MiB of it. Its password (admin.password) is read from the terminal, or is the\n" +
			"first line of standard input.",
		Args: cobra.NoArgs,
	}
	url := cmd.Flags().String("box", "", "`URL` of the box's admin port, such as http://gateway.local:8080")
	cmd.MarkFlagRequired("box") // fails for a flag that is not there
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := newBoxClient(*url)
		if err != nil {
			return err
		}
		return failed(client.log(cmd))
	}
	return cmd
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// failed is err as a failure at run time.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return failure{err}
}
