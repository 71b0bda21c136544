package main

import (
	"strings"
	"testing"
)

func TestParsePerf(t *testing.T) {
	got, err := parsePerf("49999 records sent, 9999.8 records/sec (9.77 MB/sec), 1.0 ms avg latency, 2.0 ms max latency.\n" +
		"300000 records sent, 61236.987140 records/sec (59.80 MB/sec), 420.31 ms avg latency, 1012.00 ms max latency, 417 ms 50th, 780 ms 95th, 900 ms 99th, 1000 ms 99.9th.\n")
	if err != nil || len(got) != 5 || got[0].value != 61236.98714 || got[1].value != 59.80 || got[2].value != 417 || got[3].value != 900 || got[4].value != 1000 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := parsePerf("org.apache.kafka.common.errors.TimeoutException"); err == nil {
		t.Errorf("a tool that failed came to %v", got)
	}
}

func TestTable(t *testing.T) {
	found := newTable()
	for _, v := range []float64{3, 1, 1234.5} {
		found.add("load", "one", figures{{"a", v}, {"b", 2 * v}})
	}
	found.add("load", "two", figures{{"a", 12.345}, {"b", 1}})
	var out strings.Builder
	found.print(&out)
	want := "\nload (medians of 3)\n\n| | a | b |\n|---|---:|---:|\n| one | 3.00 | 6.00 |\n| two | 12.3 | 1.00 |\n"
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("the median of four is %v, want 2.5", got)
	}
}
