// Values over time, as they were told: each holds until the next.
export class Series {
  at = [];
  values = [];

  push(at, value) {
    this.at.push(at);
    this.values.push(value);
  }

  // The value that held at a time; undefined before the first.
  value(time) {
    return this.values[this.place(time)];
  }

  // The index of the latest value told until a time; -1 before the first.
  place(time) {
    let low = 0;
    let high = this.at.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  // Forgets what held no more at a time.
  forget(before) {
    const place = this.place(before);
    if (place > 256) {
      this.at.splice(0, place);
      this.values.splice(0, place);
    }
  }
}
