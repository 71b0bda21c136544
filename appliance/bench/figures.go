package bench

import (
	"cmp"
	"slices"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

// usage is what the side that serves has used since it started.
type usage struct {
	process.Usage
	syncs      float64
	knowsSyncs bool
}

// Figures are what one pass, or the median of several, came to. What is not known
// is nil.
type Figures struct {
	RecordsPerSecond  float64       `json:"recordsPerSecond"`
	RequestsPerSecond float64       `json:"requestsPerSecond"`
	MBPerSecond       float64       `json:"mbPerSecond"`
	P50               time.Duration `json:"p50Ns"`
	P99               time.Duration `json:"p99Ns"`
	P999              time.Duration `json:"p999Ns"`

	// Of the side that serves:
	CPUPerGB           *float64 `json:"cpuSecondsPerGB,omitempty"`
	RSSMB              *float64 `json:"rssMB,omitempty"`
	PeakMB             *float64 `json:"peakRSSMB,omitempty"`            // since it started
	SyncsPer1000       *float64 `json:"syncsPer1000Requests,omitempty"` // of a log's segments
	WriteAmplification *float64 `json:"writeAmplification,omitempty"`   // bytes of pages made dirty for a byte of batches
}

func figuresOf(d *done) Figures {
	return Figures{
		RecordsPerSecond:  perSecond(float64(d.records), d.took),
		RequestsPerSecond: perSecond(float64(d.requests), d.took),
		MBPerSecond:       perSecond(float64(d.bytes), d.took) / 1e6,
		P50:               d.latency.percentile(50),
		P99:               d.latency.percentile(99),
		P999:              d.latency.percentile(99.9),
	}
}

// addUsage adds what the serving process used between before and after.
func (f *Figures) addUsage(before, after usage, d *done) {
	known := func(v float64) *float64 { return &v }
	f.RSSMB, f.PeakMB = known(float64(after.ResidentBytes)/1e6), known(float64(after.PeakBytes)/1e6)
	if d.bytes == 0 || d.requests == 0 {
		return
	}
	f.CPUPerGB = known((after.CPU - before.CPU).Seconds() / (float64(d.bytes) / 1e9))
	f.WriteAmplification = known(float64(after.WrittenBytes-before.WrittenBytes) / float64(d.bytes))
	if after.knowsSyncs {
		f.SyncsPer1000 = known((after.syncs - before.syncs) / float64(d.requests) * 1000)
	}
}

// median takes the median of each figure by itself.
func median(passes []Figures) Figures {
	return Figures{
		RecordsPerSecond:   middle(passes, func(f Figures) float64 { return f.RecordsPerSecond }),
		RequestsPerSecond:  middle(passes, func(f Figures) float64 { return f.RequestsPerSecond }),
		MBPerSecond:        middle(passes, func(f Figures) float64 { return f.MBPerSecond }),
		P50:                middle(passes, func(f Figures) time.Duration { return f.P50 }),
		P99:                middle(passes, func(f Figures) time.Duration { return f.P99 }),
		P999:               middle(passes, func(f Figures) time.Duration { return f.P999 }),
		CPUPerGB:           middleKnown(passes, func(f Figures) *float64 { return f.CPUPerGB }),
		RSSMB:              middleKnown(passes, func(f Figures) *float64 { return f.RSSMB }),
		PeakMB:             middleKnown(passes, func(f Figures) *float64 { return f.PeakMB }),
		SyncsPer1000:       middleKnown(passes, func(f Figures) *float64 { return f.SyncsPer1000 }),
		WriteAmplification: middleKnown(passes, func(f Figures) *float64 { return f.WriteAmplification }),
	}
}

// middle is the median: of an even number, the lower of the two in the middle.
func middle[T cmp.Ordered](passes []Figures, of func(Figures) T) (m T) {
	values := make([]T, 0, len(passes))
	for _, f := range passes {
		values = append(values, of(f))
	}
	if len(values) == 0 {
		return m
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

func middleKnown(passes []Figures, of func(Figures) *float64) *float64 {
	var known []Figures
	for _, f := range passes {
		if of(f) != nil {
			known = append(known, f)
		}
	}
	if len(known) == 0 {
		return nil
	}
	m := middle(known, func(f Figures) float64 { return *of(f) })
	return &m
}
