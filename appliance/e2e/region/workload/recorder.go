// Package workload produces to a cluster and reads from it while things happen to it,
// and writes down what it was told: a history for the checker.
//
// Producers are franz-go's, idempotent and with acks=all unless told otherwise, with many
// records in flight; some end now and then, and others take their place. Readers read all
// partitions from the beginning; a group's readers share them. Any goroutine may call a
// Recorder; a Run is one goroutine's. Run's goroutines end with Finish or Close.
package workload

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/checker"
)

// Recorder takes events of many goroutines and hands them to a checker in one order.
type Recorder struct {
	begin time.Time

	mu       sync.Mutex // guards all below
	checker  *checker.Checker
	file     *json.Encoder // nil: the history is not kept
	fileErr  error
	lastAck  map[int32]time.Time
	pause    time.Duration // the longest between two acks of one partition
	acked    int
	problems []string       // what clients were told that is no anomaly, each once, bounded
	told     map[string]int // how often
	next     checker.Value
}

// NewRecorder begins a history. Each event goes to file too, as a line of JSON, unless
// file is nil.
func NewRecorder(rules checker.Rules, file io.Writer) *Recorder {
	r := &Recorder{begin: time.Now(), checker: checker.New(rules), lastAck: map[int32]time.Time{}, told: map[string]int{}}
	if file != nil {
		r.file = json.NewEncoder(file)
	}
	return r
}

// Take writes an event down.
func (r *Recorder) Take(e checker.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(e)
}

func (r *Recorder) take(e checker.Event) {
	now := time.Now()
	e.At = now.Sub(r.begin)
	if r.file != nil && r.fileErr == nil {
		r.fileErr = r.file.Encode(e)
	}
	r.checker.Take(e)
	if e.Kind == checker.Ack {
		if last, ok := r.lastAck[e.Partition]; ok {
			r.pause = max(r.pause, now.Sub(last))
		}
		r.lastAck[e.Partition] = now
		r.acked++
	}
}

// send writes down that a new value is about to be sent, and returns it.
func (r *Recorder) send(client int, partition int32) checker.Value {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.take(checker.Event{Kind: checker.Send, Client: client, Partition: partition, Value: r.next})
	return r.next
}

// Note writes down what was done to the cluster.
func (r *Recorder) Note(text string) { r.Take(checker.Event{Kind: checker.Fault, Note: text}) }

// maxProblems bounds what is kept of what clients complain of.
const maxProblems = 50

func (r *Recorder) problem(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[text] == 0 {
		if len(r.problems) >= maxProblems {
			return
		}
		r.problems = append(r.problems, text)
	}
	r.told[text]++
}

// Problems are the errors that clients were told, the first of them, and how often.
func (r *Recorder) Problems() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, text := range r.problems {
		all = append(all, fmt.Sprintf("%d × %s", r.told[text], text))
	}
	return all
}

// Acked is how many records were acknowledged, and the longest time in which none of a
// partition was.
func (r *Recorder) Acked() (n int, longestPause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acked, r.pause
}

// Report ends the history.
func (r *Recorder) Report() (*checker.Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checker.Finish(), r.fileErr
}
