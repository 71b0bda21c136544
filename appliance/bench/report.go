package bench

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

// Report is all that Run measured.
type Report struct {
	CPUs      int           `json:"cpus"`
	Go        string        `json:"go"`
	Disk      []DiskFigures `json:"disk,omitempty"`
	Workloads []Measured    `json:"workloads"`
}

// Measured is one workload and its sides: the broker, then the limits.
type Measured struct {
	Workload Workload      `json:"workload"`
	Sides    []SideFigures `json:"sides"`
}

// SideFigures are the medians of one side.
type SideFigures struct {
	Name string `json:"name"`
	Figures
}

// DiskFigures are a limit that needs no network.
type DiskFigures struct {
	Name     string        `json:"name"`
	MBPerS   float64       `json:"mbPerSecond"`
	CPUPerGB float64       `json:"cpuSecondsPerGB"`
	P50      time.Duration `json:"p50Ns"`
	P99      time.Duration `json:"p99Ns"`
}

// Print writes r as tables for people.
func (r *Report) Print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%d processors, %s; medians\n", r.CPUs, r.Go)
	if len(r.Disk) > 0 {
		fmt.Fprintf(t, "\nwithout a network\n\tMB/s\tcpu-s/GB\tp50 ms\tp99 ms\t\n")
		for _, d := range r.Disk {
			fmt.Fprintf(t, "%s\t%.0f\t%.3f\t%s\t%s\t\n", d.Name, d.MBPerS, d.CPUPerGB, millis(d.P50), millis(d.P99))
		}
	}
	for _, m := range r.Workloads {
		m.print(t)
	}
	return t.Flush()
}

func (m Measured) print(t io.Writer) {
	fmt.Fprintf(t, "\n%s\n", m.Workload)
	fmt.Fprintln(t, "\trecords/s\trequests/s\tMB/s\tp50 ms\tp99 ms\tp99.9 ms\tcpu-s/GB\tRSS MB\tpeak\tsyncs/1000\twrite ampl.\t")
	for _, s := range m.Sides {
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.1f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Name,
			s.RecordsPerSecond, s.RequestsPerSecond, s.MBPerSecond, millis(s.P50), millis(s.P99), millis(s.P999),
			number(s.CPUPerGB, 3), number(s.RSSMB, 1), number(s.PeakMB, 1), number(s.SyncsPer1000, 1), number(s.WriteAmplification, 2))
	}
	if len(m.Sides) < 2 {
		return
	}
	ours := m.Sides[0]
	for _, limit := range m.Sides[1:] {
		if ours.CPUPerGB != nil && limit.CPUPerGB != nil && *limit.CPUPerGB > 0 && limit.MBPerSecond > 0 {
			fmt.Fprintf(t, "%s / %s: %.2f x cpu-s/GB, %.2f x MB/s\n", ours.Name, limit.Name, *ours.CPUPerGB / *limit.CPUPerGB, ours.MBPerSecond/limit.MBPerSecond)
		}
	}
}

// String says what the load is.
func (w Workload) String() string {
	pass := fmt.Sprintf("%d MiB", w.Bytes>>20)
	if w.Duration > 0 {
		pass = w.Duration.String()
	}
	if w.Kind == Fetch {
		return fmt.Sprintf("%s: up to %d KiB a fetch from batches of %d KiB, %d connections, %d partitions, %s a pass",
			w.Kind, w.FetchBytes>>10, w.BatchBytes>>10, w.Connections, w.Partitions, pass)
	}
	return fmt.Sprintf("%s: records of %d B, batches of %d KiB, %d connections with %d in flight, acks %d, %d partitions, durability %s, %s a pass",
		w.Kind, w.RecordBytes, max(w.BatchBytes, w.RecordBytes)>>10, w.Connections, w.InFlight, w.Acks, w.Partitions, w.Durability, pass)
}

func millis(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds()*1000, 'f', 3, 64)
}

// number writes v, or a dash when it is not known.
func number(v *float64, decimals int) string {
	if v == nil {
		return "-"
	}
	return strconv.FormatFloat(*v, 'f', decimals, 64)
}
