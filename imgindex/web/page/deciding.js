/** What a person decides about groups: sent, told, and taken back. */

import { del, get, post, put, takeBack } from "./api.js";
import { ask, complain, counted, toast } from "./dom.js";
import { live } from "./live.js";

/** What a group is called: its name, else its number. */
export const groupName = (group) => group.name ?? (group.id === -1 ? "In no group" : `Group ${group.id}`);

/** Have all that shows the library look again. */
export const changed = () => live.dispatchEvent(new CustomEvent("library", { detail: { change: null } }));

/**
 * Send a decision, say so, and offer to take it back.
 * @param {() => Promise<object>} send answers the Decision
 * @param {string} said
 * @param {(decision: object) => Promise<any>} [undo] where forgetting the decision is not enough
 * @returns {Promise<object|null>} the Decision; null where it was refused
 */
export async function decide(send, said, undo = (decision) => takeBack(decision.number)) {
  try {
    const decision = await send();
    changed();
    toast(said, {
      undo: async () => {
        await undo(decision);
        changed();
      },
    });
    return decision;
  } catch (error) {
    complain(error);
    return null;
  }
}

/** Name a group. A name takes the place of the one before, which undoing brings back. */
export function rename(group, name) {
  const send = (text) => put(`/v1/groups/${group.id}/name`, { name: text });
  return decide(() => send(name), `${groupName(group)} is now called ${name}`, group.name ? () => send(group.name) : undefined);
}

/** Have a picture stand for a group. */
export function chooseCover(group, picture) {
  return decide(() => put(`/v1/groups/${group.id}/cover`, { picture }), `${groupName(group)} has a new cover`);
}

/** Make one group of several. */
export const merge = (groups) => decide(() => post("/v1/groups/merge", { groups: groups.map((group) => group.id) }), `${groups.length === 2 ? groups.map(groupName).join(" and ") : counted(groups.length, "group")} are one group now`);

/**
 * Ask for a name and make a group of pictures.
 * @param {string[]} pictures ids
 */
export async function splitOff(pictures) {
  if (pictures.length < 2) {
    toast("A group has two pictures or more", { bad: true });
    return null;
  }
  const name = await ask(`A group of ${counted(pictures.length, "picture")}`, { label: "Name", yes: "Make the group", optional: true, hint: "You can leave it empty and name the group later." });
  if (name === null) return null;
  // Its name is a decision of its own, and goes with it.
  const undo = async ({ group }) => {
    const made = await get("/v1/decisions");
    for (const one of made.filter((other) => other.group === group)) await del(`/v1/decisions/${one.number}`);
    toast("Taken back");
  };
  return decide(() => post("/v1/groups", { pictures, name: name || null }), `${counted(pictures.length, "picture")} moved into ${name || "a group of their own"}`, undo);
}

/**
 * Say that pictures do not belong in a group; their neighbours elsewhere say where they go.
 * @param {object} group
 * @param {string} stays id of a member that stays
 * @param {string[]} pictures ids
 */
export const takeOut = (group, stays, pictures) => decide(() => post("/v1/decisions", { kind: "apart", pictures: [stays, ...pictures] }), `${counted(pictures.length, "picture")} taken out of ${groupName(group)}`);

/**
 * Put pictures into a group. They go where the firmest of them sits, so an exemplar goes first.
 * @param {object} group
 * @param {string[]} pictures ids
 */
export const putInto = (group, pictures) => decide(() => post("/v1/decisions", { kind: "together", pictures: [group.exemplars[0] ?? group.medoid, ...pictures] }), `${counted(pictures.length, "picture")} put into ${groupName(group)}`);
