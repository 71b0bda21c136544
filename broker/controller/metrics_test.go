package controller_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics say how the cluster is at the controller, and 0 elsewhere.
func TestMetrics(t *testing.T) {
	inWorld(t, abroad, func(w *world) {
		reg := prometheus.NewRegistry()
		w.cfg.Metrics = reg
		w.create("a", []int32{1, 2}, []int32{1}, []int32{2, 3})
		w.create("b", []int32{3, 1})
		w.lead()
		w.tree.Unregister(1)
		w.tree.DeleteTopic("b") // which waits for broker 1
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got := gather(w, reg)
		for name, want := range map[string]float64{
			"activecontrollercount": 1, "activebrokercount": 2, "globaltopiccount": 2, "globalpartitioncount": 4,
			"offlinepartitionscount": 1, "preferredreplicaimbalancecount": 2, "topicstodeletecount": 1, "reassigningpartitionscount": 0,
		} {
			if v, ok := got["kafka_controller_kafkacontroller_"+name]; v != want || !ok {
				w.Errorf("%s is %v, there %v; want %v", name, v, ok, want)
			}
		}
		w.resign()
		for name, v := range gather(w, reg) {
			if v != 0 {
				w.Errorf("%s is %v at a broker that is not the controller", name, v)
			}
		}
	})
}

func gather(w *world, reg *prometheus.Registry) map[string]float64 {
	families, err := reg.Gather()
	if err != nil {
		w.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "kafka_controller_kafkacontroller_") {
			out[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return out
}
