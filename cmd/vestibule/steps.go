package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// step is a line of an answer that takes minutes: something to say, or the end.
type step struct {
	Say   string `json:"say,omitempty"`
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"` // with Done: why it failed
}

// task is work that tells how far it has come, one call of say at a time.
type task func(ctx context.Context, say func(string)) error

// serveSteps does a task for who asked over the control socket, and gives it up
// when they leave.
func serveSteps(w http.ResponseWriter, r *http.Request, do task) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	var mu sync.Mutex
	send := func(s step) {
		mu.Lock()
		defer mu.Unlock()
		if json.NewEncoder(w).Encode(s) == nil { // else who asked has left, and the task is told by its context
			_ = http.NewResponseController(w).Flush()
		}
	}
	end := step{Done: true}
	if err := do(r.Context(), func(text string) { send(step{Say: text}) }); err != nil {
		end.Error = err.Error()
	}
	send(end)
}

// follow has the running server do something that takes long.
func follow(ctx context.Context, socket, what string, say func(string)) error {
	body, err := open(ctx, socket, "POST", what, 0)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		var s step
		switch err := lines.Decode(&s); {
		case errors.Is(err, io.EOF):
			return errors.New("the running vestibule ended before it was done (hint: `vestibule certificates list` shows how far it came)")
		case err != nil:
			return fmt.Errorf("listening to the running vestibule: %w", err)
		case s.Error != "":
			return errors.New(s.Error)
		case s.Done:
			return nil
		}
		say(s.Say)
	}
}
