package region

import (
	"errors"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// What is late is refused: of an earlier controller, for an earlier registration of
// this broker, of an earlier leader epoch.
func TestFencing(t *testing.T) {
	for name, tc := range map[string]struct {
		from From
		o    Order
		want error // of the request, or else of the partition
	}{
		"newer":                 {from(5, 70), order(press, 2, 8), nil},
		"laterController":       {from(6, 70), order(press, 2, 8), nil},
		"earlierController":     {from(4, 70), order(press, 2, 8), cluster.ErrStaleControllerEpoch},
		"earlierRegistration":   {from(5, 69), order(press, 2, 8), cluster.ErrStaleBrokerEpoch},
		"registrationNotTold":   {from(5, -1), order(press, 2, 8), nil},
		"laterRegistration":     {from(5, 71), order(press, 2, 8), nil},
		"earlierLeader":         {from(6, 70), order(press, 2, 6), ErrStaleOrder},
		"sameLeaderEpoch":       {from(6, 70), order(press, 2, 7), ErrStaleOrder},
		"earlierLeaderNoID":     {from(6, 70), order(topic.ID{}, 2, 6), ErrStaleOrder},
		"otherTopicOfThatName":  {from(6, 70), order(other, 2, 1), ErrTopicID},
		"otherTopicLaterLeader": {from(6, 70), order(other, 2, 9), ErrTopicID},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(t, from(5, 70), order(press, self, 7))
			w.said(t, `press-0: 1 at "a" leads in 7`)
			results, err := w.LeaderAndISR(tc.from, []Order{tc.o}, brokers)
			if err == nil {
				err = results[tp0]
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if tc.want != nil {
				w.said(t)
				return
			}
			w.said(t, `press-0: 2 at "b" leads in 8`)
		})
	}
}

// StopReplica and UpdateMetadata are fenced alike, also by what only the other
// requests have told.
func TestFencingOfAll(t *testing.T) {
	w := newWorld(t)
	w.mustKnow(t, from(5, 70), told(order(press, 2, 7)))
	for want, f := range map[error]From{cluster.ErrStaleControllerEpoch: from(4, 70), cluster.ErrStaleBrokerEpoch: from(5, 69)} {
		if err := w.UpdateMetadata(f, Update{}); !errors.Is(err, want) {
			t.Errorf("UpdateMetadata: %v, want %v", err, want)
		}
		if _, err := w.StopReplica(f, nil); !errors.Is(err, want) {
			t.Errorf("StopReplica: %v, want %v", err, want)
		}
		if _, err := w.LeaderAndISR(f, nil, nil); !errors.Is(err, want) {
			t.Errorf("LeaderAndISR: %v, want %v", err, want)
		}
	}
	w.restart(t) // the controller's epoch is remembered; a registration is another one
	if _, err := w.LeaderAndISR(from(4, 1), nil, nil); !errors.Is(err, cluster.ErrStaleControllerEpoch) {
		t.Errorf("after a restart: %v", err)
	}
}

// A broker that has started again is told what it did before, once.
func TestRepeatedAfterRestart(t *testing.T) {
	w := newWorld(t)
	w.must(t, from(5, 70), order(press, 2, 7))
	w.restart(t)
	w.said(t) // others may lead it: it waits
	w.must(t, from(5, 80), order(press, 2, 7))
	w.said(t, `press-0: 2 at "b" leads in 7`)
	results, err := w.LeaderAndISR(from(6, 80), []Order{order(press, 2, 7)}, brokers)
	if err != nil || !errors.Is(results[tp0], ErrStaleOrder) {
		t.Errorf("once more: %v, %v", results, err)
	}
	w.said(t)
}

// What could not be done is done when it is ordered once more.
func TestRepeatedAfterFailure(t *testing.T) {
	for _, fails := range []string{"open", "apply"} {
		w := newWorld(t)
		w.host.fail[fails] = errHost
		results, err := w.LeaderAndISR(from(5, 70), []Order{order(press, self, 7)}, brokers)
		if err != nil || !errors.Is(results[tp0], errHost) {
			t.Errorf("%s: %v, %v", fails, results, err)
		}
		delete(w.host.fail, fails)
		w.must(t, from(5, 70), order(press, self, 7))
		w.said(t, `press-0: 1 at "a" leads in 7`)
	}
}

// A replica that has stopped goes on with the next order, be it the one before.
func TestStopAndGoOn(t *testing.T) {
	w := newWorld(t)
	w.must(t, from(5, 70), order(press, self, 7))
	w.host.heard()
	for epoch, want := range map[int32]error{6: cluster.ErrFencedLeaderEpoch, 7: nil} {
		results, err := w.StopReplica(from(5, 70), []StopOrder{{tp0, epoch, false}})
		if err != nil || !errors.Is(results[tp0], want) {
			t.Errorf("stop in epoch %d: %v, %v", epoch, results, err)
		}
	}
	w.said(t, "press-0: stop")
	w.mustKnow(t, from(5, 70), Update{Brokers: []cluster.Broker{{ID: 2, Host: "elsewhere", Port: 9}}})
	w.said(t) // who has stopped follows nobody
	w.must(t, from(5, 70), order(press, 2, 7))
	w.said(t, `press-0: 2 at "b" leads in 7`)
	if n := w.host.opened["press-0"]; n != 1 {
		t.Errorf("opened %d times", n)
	}
}

// A topic that was deleted and made anew under its name is another one, whether this
// broker was there or not.
func TestMadeAnew(t *testing.T) {
	w := newWorld(t)
	w.must(t, from(5, 70), order(press, self, 7))
	w.mustKnow(t, from(5, 70), told(order(press, self, 7)))
	w.host.heard()
	results, err := w.StopReplica(from(5, 70), []StopOrder{{tp0, -2, true}, {cluster.TopicPartition{Topic: "never", Index: 3}, -2, true}})
	if err != nil || results[tp0] != nil || len(results) != 2 {
		t.Fatalf("%v, %v", results, err)
	}
	w.must(t, from(5, 70), order(other, 2, 0))
	w.said(t, "never-3: delete", "press-0: delete", `press-0: 2 at "b" leads in 0`)
	w.mustKnow(t, from(5, 70), told(order(other, 2, 0)))
	if got, ok := w.Snapshot().Topic("press"); !ok || got.ID != other || len(got.Partitions) != 1 {
		t.Errorf("known as %+v", got)
	}

	w.restart(t) // and away for the next time
	w.must(t, from(5, 80), order(press, 2, 0))
	w.said(t, "press-0: delete", `press-0: 2 at "b" leads in 0`)
}

// Records that the region has never ordered here, of a broker that was alone before it
// joined, are not for a controller to remove.
func TestStraysAreKept(t *testing.T) {
	w := newWorld(t)
	w.host.disk[tp0] = other
	w.restart(t)
	if results, err := w.StopReplica(from(5, 70), []StopOrder{{tp0, -2, true}}); err != nil || results[tp0] != nil {
		t.Errorf("%v, %v", results, err)
	}
	w.said(t)
	w.must(t, from(5, 70), order(press, 2, 7))
	w.said(t, "press-0: set aside", `press-0: 2 at "b" leads in 7`)
}

// A topic that was made by brokers which know no ids keeps its records when it gets one.
func TestTopicGetsID(t *testing.T) {
	w := newWorld(t)
	w.must(t, from(5, 70), order(topic.ID{}, self, 7))
	results, err := w.LeaderAndISR(from(5, 70), []Order{order(press, self, 7)}, brokers)
	if err != nil || results[tp0] != nil {
		t.Errorf("%v, %v", results, err)
	}
	w.restart(t)
	w.must(t, from(5, 80), order(press, 2, 8))
	w.said(t, `press-0: 2 at "b" leads in 8`)
	if w.host.disk[tp0] != (topic.ID{}) {
		t.Errorf("on disk it is %v", w.host.disk[tp0])
	}
}

// Without ZooKeeper a start leads what nobody else can lead, in no earlier epoch than
// it has led in; and believes what was ordered last, though that was just before the
// crash.
func TestStartAlone(t *testing.T) {
	w := newWorld(t)
	w.must(t, from(5, 70), alone(7))
	w.restart(t)
	w.said(t, `press-0: 1 at "a" leads in 7`)

	w.host.lastEpoch = 9 // the document is older than the log
	w.restart(t)
	w.said(t, `press-0: 1 at "a" leads in 9`)
	w.must(t, from(5, 80), alone(9))
	w.host.heard()

	w.must(t, from(5, 80), order(press, self, 10)) // it gets followers: no saver in between
	w.host.heard()
	w.start(t)
	w.said(t)
}

// A disk that does not take the document keeps nobody from leading; only what ends
// leading alone must be remembered first.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	w.must(t, from(5, 70), alone(7))
	w.restart(t)
	w.host.heard()
	w.disk.fail = errHost
	second := order(press, 2, 3)
	second.Index = 1
	results, err := w.LeaderAndISR(from(5, 80), []Order{order(press, 2, 8), second}, brokers)
	if err != nil || !errors.Is(results[tp0], errHost) || results[second.TopicPartition] != nil {
		t.Errorf("%v, %v", results, err)
	}
	w.said(t, `press-1: 2 at "b" leads in 3`)
	w.disk.fail = nil
	w.must(t, from(5, 80), order(press, 2, 8))
	w.said(t, `press-0: 2 at "b" leads in 8`)
	w.disk.fail = errHost
	if results, err := w.StopReplica(from(5, 80), []StopOrder{{tp0, -2, true}}); err != nil || results[tp0] != nil {
		t.Errorf("deletion, which makes room: %v, %v", results, err)
	}
	w.said(t, "press-0: delete")
}

// A replica whose deletion failed is still there for the next try.
func TestDeletionFails(t *testing.T) {
	w := newWorld(t)
	w.must(t, from(5, 70), order(press, 2, 7))
	w.host.fail["delete"] = errHost
	if results, _ := w.StopReplica(from(5, 70), []StopOrder{{tp0, -2, true}}); !errors.Is(results[tp0], errHost) {
		t.Errorf("%v", results)
	}
	delete(w.host.fail, "delete")
	w.host.heard()
	if results, _ := w.StopReplica(from(5, 70), []StopOrder{{tp0, -2, true}}); results[tp0] != nil {
		t.Errorf("%v", results)
	}
	w.said(t, "press-0: delete")
}

// While logs are opened everybody can look, and ask for changes.
func TestNobodyWaitsForOpening(t *testing.T) {
	w := newWorld(t)
	w.mustKnow(t, from(5, 70), told(order(press, 2, 6)))
	opening, goOn := make(chan struct{}), make(chan struct{})
	w.host.opening = func(string) { close(opening); <-goOn }
	done := make(chan error, 1)
	go func() {
		_, err := w.LeaderAndISR(from(5, 70), []Order{order(press, self, 7)}, brokers)
		done <- err
	}()
	<-opening
	if !w.Alive(2) || w.BrokerEpoch() != -1 {
		t.Error("not as it was told")
	}
	w.setController(3)
	if at, ok := w.ControllerAt(); !ok || at.ID != 3 {
		t.Errorf("controller %+v", at)
	}
	if err := w.save(); err != nil {
		t.Error(err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
