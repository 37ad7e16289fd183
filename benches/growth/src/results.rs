//! What was measured, as it is kept in a file.

use std::fs;
use std::path::Path;

use carnet_growth::Result;
use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Kernel, processors, memory, and how busy the machine was.
    pub machine: String,
    pub points: Vec<Point>,
}

/// One quantity at one number of sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub way: String,
    pub what: String,
    pub unit: String,
    /// Sessions that there are.
    pub sessions: u32,
    /// Sessions that messages pass on.
    pub active: u32,
    /// One a round.
    pub values: Vec<f64>,
}

impl Point {
    /// The middle one.
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

impl Results {
    /// From a file; empty if there is none.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    }

    /// A line a point, so that a change shows as one.
    pub fn write(&self, path: &Path) -> Result<()> {
        let points: Vec<String> =
            self.points.iter().map(serde_json::to_string).collect::<std::result::Result<_, _>>()?;
        let machine = serde_json::to_string(&self.machine)?;
        let points = points.join(",\n  ");
        Ok(fs::write(path, format!("{{\n \"machine\": {machine},\n \"points\": [\n  {points}\n ]\n}}\n"))?)
    }

    /// Adds one round's value to its point.
    pub fn add(&mut self, way: &str, (what, unit): (&str, &str), (sessions, active): (u32, u32), value: f64) {
        let same = |point: &&mut Point| {
            (point.way.as_str(), point.what.as_str(), point.sessions, point.active)
                == (way, what, sessions, active)
        };
        let value = (value * 1000.0).round() / 1000.0;
        match self.points.iter_mut().find(same) {
            Some(point) => point.values.push(value),
            None => self.points.push(Point {
                way: way.to_owned(),
                what: what.to_owned(),
                unit: unit.to_owned(),
                sessions,
                active,
                values: vec![value],
            }),
        }
    }
}
