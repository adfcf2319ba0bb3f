package proxy

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestAcceptEncoding(t *testing.T) {
	accepts := func(want coding, fields ...string) {
		t.Helper()
		h := Header{{"Accept", "*/*"}}
		for _, f := range fields {
			h = append(h, Field{"accept-Encoding", f})
		}
		if got := acceptedCoding(h); got != want {
			t.Errorf("%q: %v, want %v", fields, got, want)
		}
	}
	accepts(uncoded)
	accepts(uncoded, "")
	accepts(uncoded, "identity")
	accepts(uncoded, "deflate, compress")
	accepts(gzipCoding, "gzip")
	accepts(brotliCoding, "br")
	accepts(zstdCoding, "zstd")
	accepts(gzipCoding, "GZip")
	accepts(gzipCoding, "x-gzip")
	accepts(gzipCoding, "gzip, deflate")                 // Go, Python and many others
	accepts(brotliCoding, "gzip, deflate, br")           // browsers of some years ago
	accepts(zstdCoding, "gzip, deflate, br, zstd")       // and those of today
	accepts(zstdCoding, "gzip", "br", "zstd")            // in fields of their own
	accepts(gzipCoding, "gzip;q=1.0, br;q=0.5")          // the client's order comes first
	accepts(brotliCoding, "gzip;q=0.4, br;q=0.41")       //
	accepts(brotliCoding, "br;q=0.001, gzip;q=0")        //
	accepts(uncoded, "gzip;q=0, br;q=0.0, zstd;q=0.000") // all refused
	accepts(uncoded, "identity, gzip;q=0.5")             // preferred as it is
	accepts(gzipCoding, "identity;q=0.5, gzip")          //
	accepts(gzipCoding, "identity, gzip")                // equal: smaller
	accepts(gzipCoding, "identity;q=0, gzip;q=0.1")      //
	accepts(uncoded, "identity;q=0")                     // there is nothing else to have
	accepts(gzipCoding, "*")                             // what everybody can read
	accepts(gzipCoding, "*;q=0.1")                       //
	accepts(uncoded, "*;q=0")                            //
	accepts(brotliCoding, "*;q=0, br")                   //
	accepts(uncoded, "gzip;q=0, *")                      // the others might not be meant
	accepts(gzipCoding, "br;q=0.5, *")                   //
	accepts(gzipCoding, " gzip\t;\tq=0.5 ")              // blanks
	accepts(gzipCoding, "gzip;Q=1.000")                  //
	accepts(gzipCoding, "gzip;q=1.")                     // RFC 9110, section 12.4.2: up to three digits
	accepts(gzipCoding, ",, gzip,")                      // empty elements
	accepts(gzipCoding, strings.Repeat(",", maxAcceptable-1)+"gzip")
	accepts(uncoded, strings.Repeat(",", maxAcceptable)+"gzip") // too many
	accepts(uncoded, strings.Repeat("a,", maxAcceptable)+"gzip")
	accepts(uncoded, "gzip;q=1.001")
	accepts(uncoded, "gzip;q=2")
	accepts(uncoded, "gzip;q=-0.5")
	accepts(uncoded, "gzip;q=0.1234")
	accepts(uncoded, "gzip;q=.5")
	accepts(uncoded, "gzip;q=")
	accepts(uncoded, "gzip;q")
	accepts(uncoded, "gzip;")
	accepts(uncoded, "gzip;level=5")
	accepts(uncoded, "gzip;q=0.5;q=1")
	accepts(uncoded, "gzip;q =0.5")
	accepts(uncoded, "gzip;q= 0.5")
	accepts(uncoded, "gzip br")
	accepts(uncoded, `"gzip"`)
	accepts(uncoded, "gzip", "br;q=x") // a mistake anywhere
}

// FuzzAcceptEncoding compares with the grammar of RFC 9110, sections 12.4.2 and
// 12.5.3, written down once more.
func FuzzAcceptEncoding(f *testing.F) {
	for _, list := range []string{"gzip, deflate, br, zstd", "gzip;q=0.5, *;q=0", "identity;q=1, br;Q=0.25", ",x-gzip;q=1.", "zstd ; q=0", "*", "gzip;q=1.5"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		if got, want := acceptedCoding(Header{{"Accept-Encoding", list}}), referenceCoding(list); got != want {
			t.Errorf("%q: %v, want %v", list, got, want)
		}
	})
}

var acceptItem = regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\\.[0-9]{0,3})?|1(?:\\.0{0,3})?))?$")

func referenceCoding(list string) coding {
	weights := map[string]float64{}
	items := strings.Split(strings.TrimSuffix(list, ","), ",")
	if len(items) > maxAcceptable {
		return uncoded
	}
	for _, item := range items {
		if item = strings.Trim(item, " \t"); item == "" {
			continue
		}
		parts := acceptItem.FindStringSubmatch(item)
		if parts == nil {
			return uncoded
		}
		weight := 1.0
		if parts[2] != "" {
			weight, _ = strconv.ParseFloat(parts[2], 64)
		}
		name := strings.ToLower(parts[1])
		if name == "x-gzip" {
			name = "gzip"
		}
		if had, twice := weights[name]; !twice || weight > had {
			weights[name] = weight
		}
	}
	if _, named := weights["gzip"]; !named {
		weights["gzip"] = weights["*"]
	}
	best, most := uncoded, 0.0
	for c := zstdCoding; c <= gzipCoding; c++ {
		if weights[c.String()] > most {
			best, most = c, weights[c.String()]
		}
	}
	if weights["identity"] > most {
		return uncoded
	}
	return best
}
