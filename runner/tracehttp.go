package runner

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// mostChunk is how much of a log one call brings.
const mostChunk = 1 << 20

// appendTrace takes in a piece of a build's log: PATCH /api/v4/jobs/:id/trace. One that
// does not begin where the log ends is answered with how long that is: the runner goes
// on from there. So nothing is there twice, and nothing is left out, whatever is sent
// twice or late.
//
// An attempt that has ended may still bring the end of its log, for as long as the build
// is not queued anew.
func (c *Coordinator) appendTrace(w http.ResponseWriter, r *http.Request) {
	j, err := c.authorize(r, jobToken(r, ""))
	if err == nil {
		err = c.begin(r.Context(), &j)
	}
	if err != nil {
		c.fail(w, r, err)
		return
	}
	chunk, err := readChunk(w, r)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	t, taken, err := c.extend(r.Context(), j, rangeStart(r.Header.Get("Content-Range"), len(chunk)), chunk)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.tell(w, j)
	w.Header().Set("Range", "0-"+strconv.FormatInt(t.received, 10))
	if !taken {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func readChunk(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	chunk, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostChunk))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &problem{http.StatusRequestEntityTooLarge, "a piece of a log has at most " + strconv.Itoa(mostChunk) + " bytes"}
	case err != nil:
		return nil, &problem{http.StatusBadRequest, "the piece of the log did not arrive"}
	}
	return chunk, nil
}

// rangeStart is where a piece of length bytes begins that calls itself "start-end", the
// end included; or -1, where no log ends.
func rangeStart(text string, length int) int64 {
	first, last, found := strings.Cut(text, "-")
	start, err := strconv.ParseUint(first, 10, 62)
	end, endErr := strconv.ParseUint(last, 10, 62)
	if !found || err != nil || endErr != nil || length == 0 || end-start+1 != uint64(length) || end < start {
		return -1
	}
	return int64(start)
}
