#include "winograd_plan.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace fracstride {
namespace {

int64_t floor_modulo(int64_t a, int64_t b) {
  return (a % b + b) % b;
}

// Whether two parts read the same inputs.
bool same_window(const AxisPart& a, const AxisPart& b) {
  return a.in_first == b.in_first && a.count() == b.count();
}

template <class Same>
std::vector<std::vector<PartPair>> grouped(const TiledAxis& h, const TiledAxis& w, const Same& same) {
  std::vector<std::vector<PartPair>> groups;
  for (size_t i = 0; i < h.parts.size(); i++) {
    for (size_t j = 0; j < w.parts.size(); j++) {
      const auto found = std::find_if(groups.begin(), groups.end(), [&](const std::vector<PartPair>& group) {
        return same(h.parts[group[0].h], h.parts[i]) && same(w.parts[group[0].w], w.parts[j]);
      });
      std::vector<PartPair>& group = found == groups.end() ? groups.emplace_back() : *found;
      group.push_back({static_cast<int64_t>(i), static_cast<int64_t>(j)});
    }
  }
  return groups;
}

void number_units(const TiledAxis& h, const TiledAxis& w, int64_t depth, std::vector<Unit>& units) {
  int64_t inputs = 0, results = 0, filters = 0;
  for (Unit& unit : units) {
    unit.points = h.points(unit.outputs[0].h) * w.points(unit.outputs[0].w);
    unit.depth = static_cast<int64_t>(unit.inputs.size()) * depth;
    unit.first_input = inputs;
    unit.first_result = results;
    unit.first_filter = filters;
    inputs += unit.points * unit.depth;
    results += unit.points * static_cast<int64_t>(unit.outputs.size());
    filters += unit.points * static_cast<int64_t>(unit.outputs.size()) * unit.depth;
  }
}

}  // namespace

int64_t TiledAxis::first_input(int64_t tile) const {
  int64_t first = std::numeric_limits<int64_t>::max();
  for (const AxisPart& part : parts) first = std::min(first, part.in_first);
  return in_step * outputs * tile + first;
}

int64_t TiledAxis::inputs_of(int64_t count) const {
  int64_t last = std::numeric_limits<int64_t>::min();
  for (const AxisPart& part : parts) {
    last = std::max(last, in_step * (outputs * count + part.count() - 2) + part.in_first);
  }
  return last - first_input(0) + 1;
}

int64_t TiledAxis::first_output(int64_t tile) const {
  int64_t first = std::numeric_limits<int64_t>::max();
  for (const AxisPart& part : parts) first = std::min(first, part.out_first);
  return out_step * outputs * tile + first;
}

TiledAxis tile_expand(const Axis& axis, int64_t outputs, bool shared) {
  TiledAxis tiled = {outputs, 1, axis.step, 0, {}};
  // Taps rise as the inputs that they meet fall.
  int64_t first = std::numeric_limits<int64_t>::max();
  for (const AxisPhase& phase : axis.phases) {
    if (phase.taps.empty() || phase.taps.size() != axis.phases[0].taps.size()) {
      if (shared || phase.taps.empty()) throw std::logic_error("winograd: phases must have taps, shared ones as many");
    }
    first = std::min(first, phase.taps.back().delta);
  }
  for (const AxisPhase& phase : axis.phases) {
    // The first position of tile 0.
    const int64_t q = shared ? first - phase.taps.back().delta : 0;
    AxisPart part = {{}, q + phase.taps.back().delta, q * axis.step + phase.first};
    for (size_t i = phase.taps.size(); i-- > 0;) part.taps.push_back(phase.taps[i].k);
    tiled.parts.push_back(std::move(part));
    tiled.tiles = std::max(tiled.tiles, divide_up(phase.count - q, outputs));
  }
  return tiled;
}

TiledAxis tile_contract(const Axis& axis, int64_t outputs) {
  TiledAxis tiled = {outputs, axis.input_step, 1, divide_up(axis.output, outputs), {}};
  if (axis.phases.empty()) return tiled;
  for (const AxisTap& tap : axis.phases[0].taps) {
    const auto found = std::find_if(tiled.parts.begin(), tiled.parts.end(), [&](const AxisPart& part) {
      return floor_modulo(tap.delta - part.in_first, axis.input_step) == 0;
    });
    AxisPart& part = found == tiled.parts.end() ? tiled.parts.emplace_back(AxisPart{{}, tap.delta, 0}) : *found;
    part.taps.push_back(tap.k);
  }
  return tiled;
}

std::vector<Unit> expand_units(const TiledAxis& h, const TiledAxis& w, int64_t depth) {
  std::vector<Unit> units;
  for (std::vector<PartPair>& group : grouped(h, w, same_window))
    units.push_back({{group[0]}, std::move(group), 0, 0, 0, 0, 0});
  number_units(h, w, depth, units);
  return units;
}

std::vector<Unit> contract_units(const TiledAxis& h, const TiledAxis& w, int64_t depth) {
  const auto same = [](const AxisPart& a, const AxisPart& b) { return a.count() == b.count(); };
  std::vector<Unit> units;
  for (std::vector<PartPair>& group : grouped(h, w, same)) units.push_back({std::move(group), {{0, 0}}, 0, 0, 0, 0, 0});
  // The points are those of the inputs; the only output has no part of its own.
  for (Unit& unit : units) unit.outputs[0] = unit.inputs[0];
  number_units(h, w, depth, units);
  return units;
}

}  // namespace fracstride
