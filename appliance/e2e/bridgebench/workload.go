package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

// workload is one thing that is measured, on some sides.
type workload struct {
	name  string
	sides []func(binaries) *side
	fill  func(ctx context.Context, s *side) error // before the passes; nil for nothing
	pass  func(ctx context.Context, s *side, d time.Duration) (messages int, took time.Duration, err error)
}

const (
	small, large = 128, 1024 // bytes of a message
	many         = 64        // clients
	window       = 500       // messages in flight of all NATS clients
	mqttWindow   = 20        // of an MQTT client
)

func workloads() (all []workload) {
	jetStream := []func(binaries) *side{headwaterSide, alwaysSide, defaultSide}
	brokers := []func(binaries) *side{headwaterSide, mosquittoSide}
	for _, size := range []int{small, large} {
		for _, clients := range []int{1, many} {
			for _, inFlight := range []int{1, window / clients} { // the window is for all clients together
				all = append(all, workload{
					name: fmt.Sprintf("NATS publish, acked: %d B, %d client(s), %d in flight each", size, clients, inFlight), sides: jetStream,
					pass: natsPublish(size, clients, inFlight),
				})
			}
		}
	}
	for _, size := range []int{small, large} {
		for _, clients := range []int{1, many} {
			all = append(all, workload{
				name: fmt.Sprintf("MQTT publish, QoS 1: %d B, %d client(s), %d in flight each", size, clients, mqttWindow), sides: brokers,
				pass: mqttPublish(size, clients, mqttWindow),
			})
		}
	}
	for _, size := range []int{small, large} {
		all = append(all, workload{
			name: fmt.Sprintf("ordered consumer: %d B", size), sides: []func(binaries) *side{headwaterSide, defaultSide},
			fill: natsFill(size), pass: natsConsume,
		})
	}
	return all
}

// figures are what a side came to.
type figures struct {
	Side          string   `json:"side"`
	PerSecond     float64  `json:"messagesPerSecond"`
	CPUPerMillion float64  `json:"cpuSecondsPerMillion"`
	PeakRSSMB     float64  `json:"peakRSSMB"`              // since the side started
	SyncsPer1000  *float64 `json:"syncsPer1000,omitempty"` // where the side tells
}

// result is a workload, measured.
type result struct {
	Workload string    `json:"workload"`
	Sides    []figures `json:"sides"`
}

// run measures a workload: all sides are started, and take turns.
func run(ctx context.Context, o options, w workload, dir, binary, nats string) (r result, err error) {
	r.Workload = w.name
	b := binaries{headwater: binary, nats: nats, dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	var sides []*side
	defer func() {
		for _, s := range sides {
			err = errors.Join(err, s.stop())
		}
	}()
	for _, make := range w.sides {
		s := make(b)
		if err := s.start(ctx); err != nil {
			return r, fmt.Errorf("%s: %w", s.name, err)
		}
		sides = append(sides, s)
		if w.fill != nil {
			if err := w.fill(ctx, s); err != nil {
				return r, fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	passes := make([][]figures, len(sides))
	for round := range o.rounds + 1 {
		for i, s := range sides {
			f, err := onePass(ctx, w, s, o.duration)
			if err != nil {
				return r, fmt.Errorf("%s: %w", s.name, err)
			}
			if round > 0 {
				passes[i] = append(passes[i], f)
			}
		}
		slices.Reverse(sides) // headwater, peer, peer, headwater
		slices.Reverse(passes)
	}
	for _, p := range passes {
		r.Sides = append(r.Sides, median(p))
	}
	place := func(f figures) int {
		return slices.Index([]string{headwaterName, alwaysName, defaultName, mosquittoName}, f.Side)
	}
	slices.SortFunc(r.Sides, func(a, b figures) int { return place(a) - place(b) })
	return r, nil
}

func onePass(ctx context.Context, w workload, s *side, d time.Duration) (f figures, err error) {
	ctx, cancel := context.WithTimeout(ctx, d+time.Minute)
	defer cancel()
	before, syncsBefore, err := s.usage(ctx)
	if err != nil {
		return f, err
	}
	messages, took, err := w.pass(ctx, s, d)
	if err != nil {
		return f, err
	}
	after, syncsAfter, err := s.usage(ctx)
	if err != nil {
		return f, err
	}
	f = figures{
		Side: s.name, PerSecond: float64(messages) / took.Seconds(),
		CPUPerMillion: (after.CPU - before.CPU).Seconds() / float64(messages) * 1e6, PeakRSSMB: float64(after.PeakBytes) / 1e6,
	}
	if s.syncs != nil {
		per := (syncsAfter - syncsBefore) / float64(messages) * 1000
		f.SyncsPer1000 = &per
	}
	return f, nil
}

// median takes the median of each figure by itself.
func median(passes []figures) figures {
	middle := func(of func(figures) float64) float64 {
		var all []float64
		for _, f := range passes {
			all = append(all, of(f))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	m := figures{
		Side: passes[0].Side, PerSecond: middle(func(f figures) float64 { return f.PerSecond }),
		CPUPerMillion: middle(func(f figures) float64 { return f.CPUPerMillion }), PeakRSSMB: middle(func(f figures) float64 { return f.PeakRSSMB }),
	}
	if passes[0].SyncsPer1000 != nil {
		syncs := middle(func(f figures) float64 { return *f.SyncsPer1000 })
		m.SyncsPer1000 = &syncs
	}
	return m
}

// print prints a table. Its last column is headwater's rate beside the side's.
func (r result) print(w io.Writer) {
	fmt.Fprintf(w, "| %s | messages/s | cpu-s per million | peak RSS MB | syncs per 1,000 | headwater is |\n|---|---|---|---|---|---|\n", r.Workload)
	for _, f := range r.Sides {
		syncs, ratio := "", ""
		if f.SyncsPer1000 != nil {
			syncs = fmt.Sprintf("%.1f", *f.SyncsPer1000)
		}
		if f.Side != r.Sides[0].Side {
			ratio = fmt.Sprintf("%.2f x", r.Sides[0].PerSecond/f.PerSecond)
		}
		fmt.Fprintf(w, "| %s | %.0f | %.1f | %.1f | %s | %s |\n", f.Side, f.PerSecond, f.CPUPerMillion, f.PeakRSSMB, syncs, ratio)
	}
	fmt.Fprintln(w)
}

// usage is what a side's process has used, and how many syncs it tells of.
func (s *side) usage(ctx context.Context) (u process.Usage, syncs float64, err error) {
	if u, err = process.UsageOf(s.pid()); err == nil && s.syncs != nil {
		syncs, err = s.syncs(ctx)
	}
	return u, syncs, err
}
