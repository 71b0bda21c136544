package e2e

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/headwater/headwater/appliance/e2e/sensors"
	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/broker/disk"
)

// device replays one series. Each publish has a number of its own, also that of a
// reading which is sent again, so that what is stored can be told apart. It is
// used by one goroutine at a time.
type device struct {
	name, subject, unit string
	rows                []sensors.Reading
	sent                []publication // by number
	acks                *publisher
	reached             int // rows before this one were published at least once
}

// publication is one publish of a row. Half of the rows ask for an ack: a device
// mixes both kinds.
type publication struct {
	row   int
	acked bool // an ack was asked for
}

// The headers that a device sends, beside those that the bridge adds.
const (
	headerNumber   = "Publish-Number"
	headerMeasured = "Measured-At"
	headerUnit     = "Unit"
)

func (d *device) asksAck(row int) bool { return row%2 == 1 || row == len(d.rows)-1 }

// todo lists the rows that are left: those that asked for an ack and have none,
// then those that were not reached.
func (d *device) todo() []int {
	acked, _ := d.acks.answers()
	done := map[int]bool{}
	for number := range acked {
		done[d.sent[number].row] = true
	}
	var rows []int
	for row := range d.rows {
		if row >= d.reached || d.asksAck(row) && !done[row] {
			rows = append(rows, row)
		}
	}
	return rows
}

// replay publishes what is left until all is answered or the connection is lost.
func (d *device) replay(ctx context.Context) error {
	rows := d.todo()
	return d.acks.publish(ctx, func() (message, bool) {
		if len(rows) == 0 {
			return message{}, false
		}
		row := rows[0]
		rows = rows[1:]
		d.reached = max(d.reached, row+1)
		d.sent = append(d.sent, publication{row, d.asksAck(row)})
		return d.message(len(d.sent) - 1), true
	})
}

func (d *device) message(number int) message {
	p := d.sent[number]
	r := d.rows[p.row]
	return message{
		number: number, subject: d.subject, value: r.Value, wantAck: p.acked,
		header: nats.Header{headerNumber: {strconv.Itoa(number)}, headerMeasured: {r.At}, headerUnit: {d.unit}},
	}
}

func devices(t *testing.T, address string, onAck func(ack)) []*device {
	t.Helper()
	var all []*device
	for _, s := range sensors.Series {
		rows, err := sensors.Read(s.File)
		if err != nil {
			t.Fatal(err)
		}
		d := &device{
			name: s.Device, subject: "telemetry." + s.Device + "." + s.Metric, unit: s.Unit,
			rows: rows, acks: newPublisher(address, 16),
		}
		d.acks.onAck = onAck
		all = append(all, d)
	}
	return all
}

// replayAll lets all devices publish at once and returns how each ended.
func replayAll(ctx context.Context, all []*device) []error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, d := range all {
		wg.Go(func() { errs[i] = d.replay(ctx) })
	}
	wg.Wait()
	return errs
}

// Five devices replay what real sensors measured; half of the readings ask for an
// ack. The process is killed in the middle and started again, and the devices go
// on. Then every acked reading is there, at the place that its ack told, once, in
// its device's order, with its key and headers; nothing is there that was not
// sent; no offset is missing; and kcat and franz-go see the same.
func TestReplay(t *testing.T) {
	synchronized := disk.NewMachineClock().Synchronized()
	p := start(t)
	half := make(chan struct{})
	var acks atomic.Int64
	var middle int64
	all := devices(t, p.NATS, func(ack) {
		if acks.Add(1) == middle {
			close(half)
		}
	})
	for _, d := range all {
		middle += int64(len(d.rows)) / 4 // half of those that will be acked
	}

	killed := make(chan error, 1)
	go func() {
		<-half
		killed <- p.Kill()
	}()
	errs := replayAll(within(t, patience), all)
	if !slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, errLost) }) {
		t.Fatalf("no device was interrupted by the kill: %v", errs)
	}
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	published := map[string]int{} // by device: publishes up to the kill
	for _, d := range all {
		published[d.name] = len(d.sent)
	}

	restart(t, p)
	for i, err := range replayAll(within(t, patience), all) {
		if err != nil {
			t.Fatalf("device %s, after the restart: %v", all[i].name, err)
		}
	}
	for _, d := range all {
		d.acks.noRefusals(t)
		if rows := d.todo(); len(rows) > 0 {
			t.Errorf("device %s: %d readings are left without an ack", d.name, len(rows))
		}
	}

	records := readAll(t, p.Kafka, "telemetry")
	checkReplayed(t, all, records)
	checkBestEffort(t, p, all, published, records)
	checkMarks(t, synchronized, records)

	seen := kcatRead(t, p.Kafka, "telemetry", "-o", "beginning")
	if got, want := byPlace(seen), byPlace(records); len(seen) != len(records) || !reflect.DeepEqual(got, want) {
		t.Errorf("kcat read %d records, franz-go %d, or they differ", len(seen), len(records))
		for at := range want {
			if !reflect.DeepEqual(got[at], want[at]) {
				t.Fatalf("at %v: kcat %+v, franz-go %+v", at, got[at], want[at])
			}
		}
	}
	total := 0
	for _, d := range all {
		total += len(d.sent)
	}
	t.Logf("%d readings published, %d stored, %d acked", total, len(records), acks.Load())
}

// checkReplayed holds the log against what the devices sent and were told.
func checkReplayed(t *testing.T, all []*device, records []stored) {
	t.Helper()
	byKey := map[string][]stored{}
	for _, r := range records {
		byKey[r.key] = append(byKey[r.key], r)
	}
	for _, d := range all {
		at := checkDevice(t, d, byKey[d.name])
		delete(byKey, d.name)
		acked, _ := d.acks.answers()
		for number, a := range acked {
			if got, ok := at[number]; !ok || got != a.place {
				t.Errorf("device %s: reading %d was acked at %v; it is there: %v, at %v", d.name, d.sent[number].row, a.place, ok, got)
			}
		}
	}
	for key, strangers := range byKey {
		t.Errorf("%d records with the key %q, which is no device's", len(strangers), key)
	}
}

// checkDevice compares a device's records, which stand in the order of the log,
// with what it sent, and returns where each publish is.
func checkDevice(t *testing.T, d *device, records []stored) map[int]place {
	t.Helper()
	at := map[int]place{}
	last := -1
	for _, r := range records {
		number, err := strconv.Atoi(r.header(headerNumber))
		if err != nil || number < 0 || number >= len(d.sent) {
			t.Fatalf("device %s: a record that it did not send: %+v", d.name, r)
		}
		if number <= last { // covers what is there twice
			t.Errorf("device %s: publish %d stands behind %d", d.name, number, last)
		}
		last = number
		at[number] = r.place
		want := d.message(number)
		headers := [][2]string{
			{"hw-subject", d.subject},
			{"hw-time", strconv.FormatInt(r.timestamp, 10)},
			{headerMeasured, want.header.Get(headerMeasured)},
			{headerNumber, strconv.Itoa(number)},
			{headerUnit, d.unit},
		}
		got := slices.Clone(r.headers)
		ours := 2
		if slices.Contains(got, clockMark) { // when, checkMarks knows
			headers = slices.Insert(headers, ours, clockMark)
			ours++
		}
		slices.SortFunc(got[min(ours, len(got)):], func(a, b [2]string) int { // nats.go sends its own in any order
			return slices.Compare(a[:], b[:])
		})
		if r.value != want.value || !slices.Equal(got, headers) {
			t.Errorf("device %s, publish %d: value %q, headers %v, want %q, %v", d.name, number, r.value, got, want.value, headers)
		}
	}
	return at
}

// clockMark is what the bridge adds while the time of day is not known to be right.
var clockMark = [2]string{"hw-clock", "unsynchronized"}

// checkMarks holds that all records are marked, or that none is, as the kernel says of
// this machine's clock, and said before the first.
func checkMarks(t *testing.T, synchronized bool, records []stored) {
	t.Helper()
	if disk.NewMachineClock().Synchronized() != synchronized {
		t.Log("the kernel changed its mind about the clock meanwhile: marks are not looked at")
		return
	}
	for _, r := range records {
		if marked := slices.Contains(r.headers, clockMark); marked == synchronized {
			t.Fatalf("%v is marked: %v, and the kernel says synchronized: %v", r.place, marked, synchronized)
		}
	}
}

// checkBestEffort holds that a reading which asked for no ack, sent to a process
// that lived to the end, is stored or was counted as dropped.
func checkBestEffort(t *testing.T, p *process.Process, all []*device, killedAt map[string]int, records []stored) {
	t.Helper()
	there := map[string]map[int]bool{}
	for _, r := range records {
		if there[r.key] == nil {
			there[r.key] = map[int]bool{}
		}
		number, _ := strconv.Atoi(r.header(headerNumber))
		there[r.key][number] = true
	}
	missing := 0
	for _, d := range all {
		for number := killedAt[d.name]; number < len(d.sent); number++ {
			if !there[d.name][number] {
				missing++
			}
		}
	}
	dropped, err := p.Metric(within(t, patience), "headwater_bridge_dropped_total")
	if err != nil {
		t.Fatal(err)
	}
	if missing != int(dropped) {
		t.Errorf("after the restart %d best-effort readings are missing, %v were counted as dropped", missing, dropped)
	}
	if len(slices.Collect(maps.Keys(there))) != len(all) {
		t.Errorf("records of %d devices, want %d", len(there), len(all))
	}
}
