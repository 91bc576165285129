// The tabs: one view each, made when it is first shown. The address keeps which one (#complete).
const views = {};  // name -> module, in the order of the tabs: complete, spam, chat, compare, tokens, attention
export { views };
