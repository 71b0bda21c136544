package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater/headwater/appliance"
)

func newVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check a data directory that no headwater uses, or repair it",
		Long: "Read all of the data directory DIR, and print what is wrong in it and what a start\n" +
			"and its readers would do about that. Nothing is written without --repair, which does\n" +
			"it now. Exits with 0 if nothing is wrong or all was repaired, with 1 if something is\n" +
			"wrong or was left, with 2 if DIR is no data directory or a process has it.",
		Args: cobra.ExactArgs(1),
	}
	repair := cmd.Flags().Bool("repair", false, "do what is printed")
	asJSON := cmd.Flags().Bool("json", false, "print JSON, an object a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		printer := verifyPrinter(textPrinter{cmd.OutOrStdout()})
		if *asJSON {
			printer = jsonPrinter{json.NewEncoder(cmd.OutOrStdout())}
		}
		p := progressPrinter{out: cmd.ErrOrStderr(), last: time.Now()}
		sum, err := appliance.Verify(cmd.Context(), appliance.VerifyOptions{
			DataDir: args[0], Repair: *repair,
			Found: printer.found, Note: printer.note, Progress: p.progress,
		})
		if err != nil {
			return failure{err}
		}
		printer.summary(sum)
		return verdict(sum)
	}
	return cmd
}

// verdict is the error of a directory in which something is wrong.
func verdict(sum appliance.VerifySummary) error {
	switch {
	case sum.Repaired && sum.Left > 0:
		return failure{fmt.Errorf("%d findings could not be repaired", sum.Left)}
	case !sum.Repaired && sum.Findings > 0:
		return failure{fmt.Errorf("%d findings", sum.Findings)}
	}
	return nil
}

// verifyPrinter prints what a look through a data directory comes to.
type verifyPrinter interface {
	found(appliance.Finding)
	note(partition, text string)
	summary(appliance.VerifySummary)
}

type textPrinter struct{ out io.Writer }

// place names what a line is about.
func place(partition, file string) string {
	return strings.Trim(partition+"/"+file, "/")
}

func (p textPrinter) found(f appliance.Finding) {
	line := f.Wrong
	if where := place(f.Partition, f.File); where != "" {
		line = where + ": " + line
	}
	if len(f.Details) > 0 {
		var details []string
		for _, key := range slices.Sorted(maps.Keys(f.Details)) {
			details = append(details, fmt.Sprintf("%s %v", key, f.Details[key]))
		}
		line += " (" + strings.Join(details, ", ") + ")"
	}
	if f.Remedy != "" {
		line += " -> " + f.Remedy
	}
	fmt.Fprintln(p.out, line)
}

func (p textPrinter) note(partition, text string) {
	if partition != "" {
		text = partition + ": " + text
	}
	fmt.Fprintln(p.out, "note: "+text)
}

func (p textPrinter) summary(sum appliance.VerifySummary) {
	fmt.Fprintf(p.out, "%d partitions, %d bytes of segments, %d findings", sum.Partitions, sum.Bytes, sum.Findings)
	if sum.Repaired {
		fmt.Fprintf(p.out, "; repaired, %d left", sum.Left)
	}
	fmt.Fprintln(p.out)
}

type jsonPrinter struct{ out *json.Encoder }

func (p jsonPrinter) found(f appliance.Finding) {
	p.out.Encode(struct {
		Type      string         `json:"type"`
		Partition string         `json:"partition,omitempty"`
		File      string         `json:"file,omitempty"`
		Kind      string         `json:"kind"`
		Wrong     string         `json:"wrong"`
		Remedy    string         `json:"remedy,omitempty"`
		Details   map[string]any `json:"details,omitempty"`
	}{"finding", f.Partition, f.File, f.Kind, f.Wrong, f.Remedy, f.Details})
}

func (p jsonPrinter) note(partition, text string) {
	p.out.Encode(struct {
		Type      string `json:"type"`
		Partition string `json:"partition,omitempty"`
		Text      string `json:"text"`
	}{"note", partition, text})
}

func (p jsonPrinter) summary(sum appliance.VerifySummary) {
	p.out.Encode(struct {
		Type       string `json:"type"`
		Partitions int    `json:"partitions"`
		Bytes      int64  `json:"bytes"`
		Findings   int    `json:"findings"`
		Repaired   bool   `json:"repaired"`
		Left       int    `json:"left"`
	}{"summary", sum.Partitions, sum.Bytes, sum.Findings, sum.Repaired, sum.Left})
}

// progressEvery is how often a long look says how far it is.
const progressEvery = 2 * time.Second

type progressPrinter struct {
	out  io.Writer
	last time.Time
}

func (p *progressPrinter) progress(done, total int64) {
	if now := time.Now(); now.Sub(p.last) >= progressEvery {
		p.last = now
		fmt.Fprintf(p.out, "%d of %d bytes\n", done, total)
	}
}
